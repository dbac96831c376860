//! A query that reads something twice: in every answer that anybody sees both have read the same.

use super::{Failure, round::Story};
use tidemark::engine::EngineOptions;

/// The number of answers seen.
pub async fn round(rows: usize) -> Result<usize, Failure> {
    let mut story = Story::new(EngineOptions::default()).await;
    story.sql("CREATE TABLE t (n INT) APPEND ONLY").await?;
    let view = "SELECT (SELECT count(*) FROM t) - (SELECT count(*) FROM t WHERE n >= 0) AS apart";
    story.sql(&format!("CREATE MATERIALIZED VIEW v AS {view}; FLUSH")).await?;
    for n in 0..rows {
        story.sql(&format!("INSERT INTO t VALUES ({n})")).await?;
        story.same("v", "SELECT 0").await?;
    }
    story.sql("FLUSH").await?;
    story.same("v", view).await?;
    Ok(rows)
}
