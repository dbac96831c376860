//! What all connections of one server share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{options::WireOptions, session_memory::Memory, sessions::SessionSlots};

/// What all connections of one server share.
pub(super) struct ServerShared<D> {
    pub door: Arc<D>,
    pub options: WireOptions,
    pub sessions: Arc<SessionSlots>,
    pub memory: Arc<Memory>,
    pub shutdown: CancellationToken,
}
