//! Queries and messages of drivers, and of libraries on top of them, that tokio-postgres does not send.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{queries::opened, *};

/// SQLAlchemy's reflection of the table `orders`, which is the first that there is.
#[tokio::test]
async fn sqlalchemy_reflects_a_table() {
    let server = Server::start().await;
    let client = server.connect().await;
    let text: String =
        include_str!("sqlalchemy.sql").lines().filter(|l| !l.starts_with("--")).collect::<Vec<_>>().join("\n");
    let mut answers = Vec::new();
    for sql in text.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
        match client.simple_query(sql).await {
            Ok(messages) => answers.push(shown(messages).join("\n")),
            Err(error) => panic!("{}\n{sql}", error_text(&error)),
        }
    }
    let all = answers.join("\n");
    for line in ["orders", "Recent", "totals", "orders_pkey", "16385|{id,name}|orders_pkey"] {
        assert!(all.contains(line), "{line}:\n{all}");
    }
    assert!(answers[5].contains("price|numeric(10,2)|"), "{}", answers[5]);
}

/// One message by hand.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Messages up to ReadyForQuery: their types and bodies.
async fn answers(socket: &mut TcpStream) -> Vec<(char, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let mut head = [0; 5];
        socket.read_exact(&mut head).await.expect("a message");
        let mut body = vec![0; i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        socket.read_exact(&mut body).await.expect("its body");
        all.push((char::from(head[0]), body));
        if head[0] == b'Z' {
            return all;
        }
    }
}

fn kinds(answers: &[(char, Vec<u8>)]) -> String {
    answers.iter().map(|(kind, _)| kind).collect()
}

fn code(answers: &[(char, Vec<u8>)]) -> String {
    let error = answers.iter().find(|(kind, _)| *kind == 'E').map(|(_, body)| body.as_slice()).unwrap_or_default();
    let fields = error.split(|b| *b == 0).find(|field| field.first() == Some(&b'C'));
    String::from_utf8_lossy(fields.unwrap_or_default()).trim_start_matches('C').to_string()
}

/// psycopg declares a cursor in SQL and describes it as a portal.
#[tokio::test]
async fn sql_cursor_is_readable_as_a_portal() {
    let server = Server::start().await;
    let mut socket = opened(&server).await;
    let begin = message(b'Q', b"BEGIN; DECLARE c CURSOR FOR SELECT n FROM numbers ORDER BY n\0");
    socket.write_all(&begin).await.expect("sent");
    assert_eq!(kinds(&answers(&mut socket).await), "CCZ");
    let mut sent = message(b'D', b"Pc\0");
    sent.extend(message(b'E', b"c\0\0\0\0\x02"));
    sent.extend(message(b'C', b"Pc\0"));
    sent.extend(message(b'S', b""));
    socket.write_all(&sent).await.expect("sent");
    let all = answers(&mut socket).await;
    assert_eq!(kinds(&all), "TDDs3Z", "{all:?}");
    socket.write_all(&message(b'Q', b"FETCH 1 FROM c\0")).await.expect("sent");
    assert_eq!(code(&answers(&mut socket).await), "34000", "it was closed");
}

/// asyncpg uses MOVE and FETCH on its portals by name.
#[tokio::test]
async fn portal_is_readable_as_a_sql_cursor() {
    let server = Server::start().await;
    let mut socket = opened(&server).await;
    let mut sent = message(b'Q', b"BEGIN\0");
    sent.extend(message(b'P', b"\0SELECT n FROM numbers ORDER BY n\0\0\0"));
    sent.extend(message(b'B', b"p\0\0\0\0\0\0\0\0"));
    sent.extend(message(b'E', b"p\0\0\0\0\x02"));
    sent.extend(message(b'S', b""));
    sent.extend(message(b'Q', b"MOVE FORWARD 3 FROM p; FETCH 1 FROM p\0"));
    socket.write_all(&sent).await.expect("sent");
    assert_eq!(kinds(&answers(&mut socket).await), "CZ");
    assert_eq!(kinds(&answers(&mut socket).await), "12DDsZ");
    let moved = answers(&mut socket).await;
    assert_eq!(kinds(&moved), "CTDCZ");
    assert_eq!(moved[2].1, b"\0\x01\0\0\0\x016");
}

/// Each message of a binary copy is a row to psycopg, the first with the header before it.
#[tokio::test]
async fn copy_out_binary_header_is_in_the_first_message() {
    let server = Server::start().await;
    let mut socket = opened(&server).await;
    for (sql, rows) in [("n < 3", 2), ("n < 0", 0)] {
        let sql = format!("COPY (SELECT n FROM numbers WHERE {sql}) TO STDOUT (FORMAT binary)\0");
        socket.write_all(&message(b'Q', sql.as_bytes())).await.expect("sent");
        let all = answers(&mut socket).await;
        assert_eq!(kinds(&all), format!("H{}cCZ", "d".repeat(rows + 1)));
        assert!(all[1].1.starts_with(b"PGCOPY\n\xff\r\n\0") && all[1].1.len() > 19, "{all:?}");
        assert!(all[rows + 1].1.ends_with(b"\xff\xff"), "{all:?}");
    }
}

#[tokio::test]
async fn invalid_utf8_is_an_error_of_its_statement_only() {
    let server = Server::start().await;
    let mut socket = opened(&server).await;
    socket.write_all(&message(b'Q', b"SELECT '\xff'\0")).await.expect("sent");
    let all = answers(&mut socket).await;
    assert_eq!((kinds(&all).as_str(), code(&all).as_str()), ("EZ", "22021"));
    let mut sent = message(b'P', b"\0SELECT '\xff'\0\0\0");
    sent.extend(message(b'B', b"\0\0\0\0\0\0\0\0"));
    sent.extend(message(b'S', b""));
    socket.write_all(&sent).await.expect("sent");
    let all = answers(&mut socket).await;
    assert_eq!((kinds(&all).as_str(), code(&all).as_str()), ("EZ", "22021"));
    for value in [&b"\0\0\0\x03a\0b"[..], b"\0\0\0\x01\xff"] {
        let mut sent = message(b'P', b"\0SELECT $1::text\0\0\0");
        let mut bind = b"\0\0\0\0\0\x01".to_vec();
        bind.extend_from_slice(value);
        bind.extend_from_slice(b"\0\0");
        sent.extend(message(b'B', &bind));
        sent.extend(message(b'S', b""));
        socket.write_all(&sent).await.expect("sent");
        let all = answers(&mut socket).await;
        assert_eq!((kinds(&all).as_str(), code(&all).as_str()), ("1EZ", "22021"));
    }
    socket.write_all(&message(b'Q', b"SELECT 1\0")).await.expect("sent");
    assert_eq!(kinds(&answers(&mut socket).await), "TDCZ");
}

/// asyncpg sends the value with quotes.
#[tokio::test]
async fn client_encoding_is_accepted_in_any_spelling() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.address).await.expect("connected");
    let body = b"\0\x03\0\0user\0ann\0client_encoding\0'utf-8'\0\0";
    let mut sent = (body.len() as i32 + 4).to_be_bytes().to_vec();
    sent.extend_from_slice(body);
    socket.write_all(&sent).await.expect("sent");
    assert!(!kinds(&answers(&mut socket).await).contains('E'));
}
