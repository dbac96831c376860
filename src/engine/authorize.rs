//! The privilege that each kind of statement needs, and whether its session has it. Decided only here: the engine
//! accepts only statements that [`authorize`] returned, from any client.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use crate::{
    catalog::ObjectKind,
    error::{Error, ErrorKind, Result},
    session::{Session, Subject},
    sql::statement::{Alter, AlterAction, Body, Statement},
};

/// The right that a statement needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Changing or reading the session's own state: settings, transaction, prepared statements, cursors.
    Session,
    /// Reading rows, plans and definitions.
    Read,
    /// Blocking others, or waiting for them, without changing anything.
    Maintain,
    /// Changing rows.
    Write,
    /// Creating, altering and dropping named objects.
    Define,
}

impl Privilege {
    /// Whether it permits durable changes, which a read-only transaction may not make.
    pub fn writes(self) -> bool {
        match self {
            Privilege::Session | Privilege::Read | Privilege::Maintain => false,
            Privilege::Write | Privilege::Define => true,
        }
    }
}

/// A statement that its session may run. Only [`authorize`] constructs it.
#[derive(Debug, Clone)]
pub struct Authorized {
    statement: Arc<Statement>,
    privilege: Privilege,
}

impl Authorized {
    pub fn privilege(&self) -> Privilege {
        self.privilege
    }
}

impl Deref for Authorized {
    type Target = Statement;

    fn deref(&self) -> &Statement {
        &self.statement
    }
}

/// Authorizes a statement; 25006 for one that writes in a read-only transaction.
pub fn authorize(session: &Session, statement: impl Into<Arc<Statement>>) -> Result<Authorized> {
    let statement = statement.into();
    let (privilege, command) = required(&statement.body);
    check(&session.info.subject, privilege, &command, session.is_read_only())?;
    Ok(Authorized { statement, privilege })
}

/// Every user has every privilege, so that only a read-only transaction can refuse a statement.
fn check(subject: &Subject, privilege: Privilege, command: &str, is_read_only: bool) -> Result<()> {
    tracing::trace!(user = subject.user, ?privilege, command, "a statement asks for a privilege");
    if is_read_only && privilege.writes() {
        let message = format!("cannot execute {command} in a read-only transaction");
        return Err(Error::new(ErrorKind::ReadOnlyTransaction, message));
    }
    Ok(())
}

/// The privilege that a statement needs, and the command named in the error. A statement that is run by name (EXECUTE,
/// DECLARE) is authorized on its own.
fn required(body: &Body) -> (Privilege, Cow<'static, str>) {
    use Privilege::{Define, Maintain, Read, Session, Write};
    let of_kind = |verb: &str, kind: ObjectKind| Cow::from(format!("{verb} {}", kind.word().to_uppercase()));
    match body {
        Body::CreateSource(_) => (Define, of_kind("CREATE", ObjectKind::Source)),
        Body::CreateTable(_) => (Define, of_kind("CREATE", ObjectKind::Table)),
        Body::CreateView(create) => (Define, of_kind("CREATE", create.kind)),
        Body::CreateSecret(_) => (Define, "CREATE SECRET".into()),
        Body::DropSecrets(_) => (Define, "DROP SECRET".into()),
        Body::CreateFunction(_) => (Define, "CREATE FUNCTION".into()),
        Body::CreateAggregate(_) => (Define, "CREATE AGGREGATE".into()),
        Body::DropFunctions(drop) if drop.aggregates => (Define, "DROP AGGREGATE".into()),
        Body::DropFunctions(_) => (Define, "DROP FUNCTION".into()),
        Body::Drop(drop) => (Define, of_kind("DROP", drop.kind)),
        Body::Alter(Alter { kind, action, .. }) => match action {
            // Each is a durable change.
            AlterAction::Pause | AlterAction::Resume | AlterAction::RenameTo(_) | AlterAction::ResetOffsets => {
                (Define, of_kind("ALTER", *kind))
            }
        },
        Body::Insert(_) => (Write, "INSERT".into()),
        Body::Update(_) => (Write, "UPDATE".into()),
        Body::Delete(_) => (Write, "DELETE".into()),
        Body::CopyIn(_) => (Write, "COPY FROM".into()),
        Body::Query(_) => (Read, "SELECT".into()),
        Body::Subscribe(_) => (Read, "SUBSCRIBE".into()),
        Body::CopyOut(_) => (Read, "COPY TO".into()),
        Body::Declare { .. } => (Read, "DECLARE CURSOR".into()),
        // EXPLAIN ANALYZE runs the statement.
        Body::Explain { analyze: true, statement, .. } => required(&statement.body),
        Body::Explain { analyze: false, .. } | Body::ExplainRelation(_) => (Read, "EXPLAIN".into()),
        Body::Show(_) => (Read, "SHOW".into()),
        Body::Flush(_) => (Maintain, "FLUSH".into()),
        Body::Set { .. } => (Session, "SET".into()),
        Body::Reset(_) => (Session, "RESET".into()),
        Body::Begin { .. } => (Session, "BEGIN".into()),
        Body::Commit => (Session, "COMMIT".into()),
        Body::Rollback => (Session, "ROLLBACK".into()),
        Body::NoOp(tag) => (Session, tag.clone().into()),
        Body::Discard(_) => (Session, "DISCARD".into()),
        Body::Prepare { .. } => (Session, "PREPARE".into()),
        Body::Execute { .. } => (Session, "EXECUTE".into()),
        Body::Deallocate(_) => (Session, "DEALLOCATE".into()),
        Body::Fetch { skip: false, .. } => (Session, "FETCH".into()),
        Body::Fetch { skip: true, .. } => (Session, "MOVE".into()),
        Body::Close(_) => (Session, "CLOSE CURSOR".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, mem::discriminant};

    use super::*;
    use crate::sql::parse;
    use Privilege::{Define, Maintain, Read, Write};

    /// Statements of every kind with their privilege and command. As in PostgreSQL, a read-only
    /// transaction runs SET, SHOW, LISTEN, EXPLAIN, PREPARE, EXECUTE, DECLARE, LOCK, VACUUM and COPY TO.
    const STATEMENTS: &[(&str, Privilege, &str)] = &[
        ("CREATE SOURCE s (n INT) WITH (connector = 'datagen')", Define, "CREATE SOURCE"),
        ("CREATE TABLE t (n INT)", Define, "CREATE TABLE"),
        ("CREATE TABLE t AS SELECT 1", Define, "CREATE TABLE"),
        ("CREATE VIEW v AS SELECT 1", Define, "CREATE VIEW"),
        ("CREATE STREAM v AS SELECT 1", Define, "CREATE STREAM"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", Define, "CREATE MATERIALIZED VIEW"),
        ("CREATE SINK s WITH (connector = 'console') AS SELECT 1", Define, "CREATE SINK"),
        ("CREATE SECRET s AS 'x'", Define, "CREATE SECRET"),
        ("DROP SECRET s", Define, "DROP SECRET"),
        ("CREATE FUNCTION f(n INT) RETURNS INT LANGUAGE SQL AS 'SELECT n'", Define, "CREATE FUNCTION"),
        ("CREATE AGGREGATE a (INT) (SFUNC = f, STYPE = INT)", Define, "CREATE AGGREGATE"),
        ("DROP FUNCTION f", Define, "DROP FUNCTION"),
        ("DROP AGGREGATE a (INT)", Define, "DROP AGGREGATE"),
        ("DROP TABLE t", Define, "DROP TABLE"),
        ("ALTER MATERIALIZED VIEW v PAUSE", Define, "ALTER MATERIALIZED VIEW"),
        ("ALTER SOURCE s RESET OFFSETS", Define, "ALTER SOURCE"),
        ("INSERT INTO t VALUES (1)", Write, "INSERT"),
        ("UPDATE t SET n = 1", Write, "UPDATE"),
        ("DELETE FROM t", Write, "DELETE"),
        ("COPY t FROM STDIN", Write, "COPY FROM"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", Write, "INSERT"),
        ("EXPLAIN ANALYZE SELECT 1", Read, "SELECT"),
        ("EXPLAIN INSERT INTO t VALUES (1)", Read, "EXPLAIN"),
        ("EXPLAIN MATERIALIZED VIEW v", Read, "EXPLAIN"),
        ("SELECT 1", Read, "SELECT"),
        ("VALUES (1)", Read, "SELECT"),
        ("SUBSCRIBE TO v", Read, "SUBSCRIBE"),
        ("COPY t TO STDOUT", Read, "COPY TO"),
        ("DECLARE c CURSOR FOR SELECT 1", Read, "DECLARE CURSOR"),
        ("SHOW TABLES", Read, "SHOW"),
        ("SHOW timezone", Read, "SHOW"),
        ("FLUSH", Maintain, "FLUSH"),
        ("SET timezone = 'UTC'", Privilege::Session, "SET"),
        ("RESET timezone", Privilege::Session, "RESET"),
        ("BEGIN READ WRITE", Privilege::Session, "BEGIN"),
        ("COMMIT", Privilege::Session, "COMMIT"),
        ("ROLLBACK", Privilege::Session, "ROLLBACK"),
        ("LISTEN c", Privilege::Session, "LISTEN"),
        ("VACUUM", Privilege::Session, "VACUUM"),
        ("DISCARD PLANS", Privilege::Session, "DISCARD"),
        ("PREPARE p AS INSERT INTO t VALUES (1)", Privilege::Session, "PREPARE"),
        ("EXECUTE p", Privilege::Session, "EXECUTE"),
        ("DEALLOCATE p", Privilege::Session, "DEALLOCATE"),
        ("FETCH 1 FROM c", Privilege::Session, "FETCH"),
        ("MOVE 1 FROM c", Privilege::Session, "MOVE"),
        ("CLOSE c", Privilege::Session, "CLOSE CURSOR"),
    ];

    fn statement(sql: &str) -> Statement {
        parse(sql).expect(sql).remove(0)
    }

    #[test]
    fn statement_of_each_kind_needs_its_privilege() {
        let mut kinds = HashSet::new();
        for (sql, privilege, command) in STATEMENTS {
            let body = statement(sql).body;
            assert_eq!(required(&body), (*privilege, Cow::from(*command)), "{sql}");
            kinds.insert(discriminant(&body));
        }
        assert_eq!(kinds.len(), 34, "a statement of each kind");
    }

    #[test]
    fn read_only_transaction_refuses_what_writes_and_nothing_else() {
        let session = Session::default();
        let refused = |sql: &str| {
            authorize(&session, statement(sql)).err().map(|error| format!("{} {error}", error.kind().sqlstate()))
        };
        for (sql, ..) in STATEMENTS {
            assert_eq!(refused(sql), None, "{sql}");
        }
        session.begin(Some(true)).expect("begun");
        for (sql, privilege, command) in STATEMENTS {
            let expected = format!("25006 cannot execute {command} in a read-only transaction");
            assert_eq!(refused(sql), privilege.writes().then_some(expected), "{sql}");
        }
        session.end(false);
        assert_eq!(refused("DROP TABLE t"), None);
    }
}
