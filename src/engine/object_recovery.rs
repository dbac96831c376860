//! Makes the objects of a data directory live again, each at its last committed epoch.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::datatypes::Schema;
use tokio_util::sync::CancellationToken;

use super::{
    build::ObjectBuilder,
    cleanup::ObjectCleanup,
    live_catalog::LiveCatalog,
    objects::{Object, ObjectState, schema_from},
    opened_directory::OF_OBJECTS,
    recovered::RecoveredState,
};
use crate::{
    catalog::{Catalog, ObjectDef, ObjectKind},
    checkpoint::Manifest,
    connectors::{Offsets, Readers, START},
    error::{Error, Result},
    query::{Checkpoints, Command, QueryEnv},
    sql::{
        parse,
        statement::{Body, Statement, StatementStart},
    },
    time::Epoch,
};

/// What restores objects.
#[derive(Debug)]
pub struct ObjectRecovery<'a> {
    pub catalog: &'a LiveCatalog,
    pub builder: &'a ObjectBuilder,
    pub env: &'a QueryEnv,
    /// Nothing of it runs.
    pub rehearsal: bool,
}

impl ObjectRecovery<'_> {
    /// Restores objects in creation order. One that cannot be restored exists, and gives its error when used.
    pub async fn restore_all(&self, definitions: &Catalog, mut recovered_states: HashMap<u64, RecoveredState>) {
        self.note_readers(definitions, &mut recovered_states);
        for object in definitions.objects.values() {
            let recovered = recovered_states.remove(&object.id).unwrap_or_default();
            recovered.readers.join(START);
            let live = self.restore_object(object, recovered).await;
            self.catalog.restore(Arc::new(live));
        }
    }

    /// Once all readers are registered, lets inputs release what all have consumed. Inputs of an object that could not
    /// be restored are retained until it can be, or until it is dropped.
    pub async fn release_sources(&self) {
        let objects = self.catalog.objects().in_order();
        let mut held: Vec<u64> = Vec::new();
        for object in objects.iter().rev() {
            if matches!(object.what, ObjectState::Broken(_)) || held.contains(&object.id) {
                held.extend(&object.depends);
            }
        }
        for object in objects.iter().filter(|object| !held.contains(&object.id)) {
            object.readers.leave(START);
        }
        for handle in objects.iter().filter_map(|object| object.handle()) {
            handle.tell(Command::Release).await;
        }
    }

    /// Registers, before anything is loaded, the input offsets of each query's checkpoint: an input restored earlier
    /// must not release what a query will read again. If a checkpoint cannot be read, its inputs retain everything
    /// until it can be.
    fn note_readers(&self, catalog: &Catalog, recovered_states: &mut HashMap<u64, RecoveredState>) {
        let mut followed: BTreeMap<u64, Epoch> = BTreeMap::new();
        let stands = |kind| matches!(kind, ObjectKind::Stream | ObjectKind::MaterializedView | ObjectKind::Sink);
        for object in catalog.objects.values().filter(|object| stands(object.kind)) {
            let header = match Checkpoints::new(self.env.storage.clone(), object.id).peek() {
                Ok(Some(header)) => header,
                Ok(None) => continue,
                Err(_) => {
                    followed.extend(object.depends.iter().map(|input| (*input, Epoch(0))));
                    continue;
                }
            };
            for (input, offsets) in header.inputs.iter().zip(&header.offsets) {
                let recovered = recovered_states.entry(*input).or_default();
                recovered.readers.advance(object.id, offsets);
                self.note_followed(catalog, *input, offsets, &mut followed);
            }
        }
        for (id, from) in followed {
            recovered_states.entry(id).or_default().followed = Some(from);
        }
    }

    fn note_followed(&self, catalog: &Catalog, input: u64, offsets: &Offsets, followed: &mut BTreeMap<u64, Epoch>) {
        let is_relation = catalog.objects.get(&input).is_some_and(|object| object.kind != ObjectKind::Source);
        // At offset 0 it has read nothing and will start with a snapshot.
        if is_relation && offsets.only() > 0 {
            let from = Epoch(offsets.only());
            followed.entry(input).and_modify(|least| *least = (*least).min(from)).or_insert(from);
        }
    }

    async fn restore_object(&self, object: &ObjectDef, mut recovered: RecoveredState) -> Object {
        let readers = recovered.readers.clone();
        let revived = async {
            recovered.lost.take().map_or(Ok(()), Err)?;
            recovered.schema = Some(schema_from(&object.schema)?);
            recovered.paused = object.paused || self.rehearsal;
            recovered.begins = self.rehearsal.then(CancellationToken::new);
            let mut statements = parse(&object.definition)?;
            let statement = statements.pop().ok_or_else(|| Error::internal("an empty definition"))?;
            self.builder.build(object.id, statement, recovered, &Arc::new(self.catalog.snapshot())).await
        };
        match revived.await {
            Ok(live) => live,
            Err(error) => {
                let error = self.env.hidden.mask(error);
                tracing::error!(object = object.name, %error, "could not be opened");
                broken(object, error, readers)
            }
        }
    }

    /// Removes the files of dropped objects: a crash may have come between drop and removal, or during a CREATE. If the
    /// log may be incomplete, files of unknown objects are left.
    pub fn remove_strays(&self, definitions: &Catalog, cleanup: &ObjectCleanup, manifest: &Manifest) -> Result<()> {
        let mut strays: Vec<u64> = Vec::new();
        for folder in OF_OBJECTS {
            for path in self.env.storage.list(folder).or_else(|_| manifest.found(folder))? {
                let id = path.strip_prefix(folder).and_then(|rest| rest.split('/').nth(1)?.parse::<u64>().ok());
                strays.extend(id.filter(|id| !definitions.objects.contains_key(id)));
            }
        }
        strays.sort_unstable();
        strays.dedup();
        for id in strays {
            let is_known = id <= definitions.last_id || self.env.log.is_certain();
            let removed = if is_known { cleanup.delete_files(id, ObjectKind::Source) } else { Ok(()) };
            if let Err(error) = &removed {
                tracing::warn!(id, %error, "files of an object that is no more are left");
            }
            if !is_known || removed.is_err() {
                // New objects get ids after theirs.
                self.catalog.skip_ids(id);
            }
        }
        Ok(())
    }
}

/// The object of a definition that could not be restored.
fn broken(object: &ObjectDef, error: Error, readers: Arc<Readers>) -> Object {
    let parsed = parse(&object.definition).ok().and_then(|mut all| all.pop());
    let start = StatementStart { line: 1, column: 1, position: 1 };
    let nothing = || Statement { body: Body::Flush(None), text: object.definition.clone(), start };
    Object {
        id: object.id,
        name: object.name.clone(),
        kind: object.kind,
        statement: parsed.unwrap_or_else(nothing),
        schema: schema_from(&object.schema).unwrap_or_else(|_| Arc::new(Schema::empty())),
        depends: object.depends.clone(),
        watermark: None,
        readers,
        what: ObjectState::Broken(error),
    }
}
