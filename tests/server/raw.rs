//! The protocol by hand: for what no driver does.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A socket, with or without a session.
pub struct Raw(TcpStream);

impl Raw {
    pub async fn connect(port: u16) -> Raw {
        Raw(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    /// A session that is ready.
    pub async fn open(port: u16) -> Raw {
        let mut raw = Raw::connect(port).await;
        raw.send_bytes(&Raw::startup_packet()).await;
        assert_eq!(raw.error().await, None);
        raw
    }

    pub fn startup_packet() -> Vec<u8> {
        let body = b"\0\x03\0\0user\0tidemark\0database\0tidemark\0\0";
        [&(body.len() as i32 + 4).to_be_bytes()[..], body].concat()
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The head of a message that says it has so many bytes, its length among them.
    pub async fn begin(&mut self, kind: u8, length: usize) {
        let mut head = vec![kind];
        head.extend_from_slice(&(length as i32).to_be_bytes());
        self.send_bytes(&head).await;
    }

    async fn send(&mut self, kind: u8, body: &[u8]) {
        self.begin(kind, body.len() + 4).await;
        self.send_bytes(body).await;
    }

    pub async fn query(&mut self, text: &str) {
        self.send(b'Q', &[text.as_bytes(), b"\0"].concat()).await;
    }

    pub async fn copy_data(&mut self, data: &[u8]) {
        self.send(b'd', data).await;
    }

    pub async fn copy_done(&mut self) {
        self.send(b'c', b"").await;
    }

    /// Reads up to the next ReadyForQuery, or to the end of the connection: the SQLSTATE of the error that came, if any.
    pub async fn error(&mut self) -> Option<String> {
        let mut found = None;
        loop {
            let mut head = [0; 5];
            if self.0.read_exact(&mut head).await.is_err() {
                return found;
            }
            let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            if self.0.read_exact(&mut body).await.is_err() {
                return found;
            }
            match head[0] {
                b'E' => {
                    let code = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"));
                    found = code.map(|code| String::from_utf8_lossy(code).into_owned());
                }
                b'Z' => return found,
                _ => {}
            }
        }
    }
}
