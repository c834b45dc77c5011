//! Web sockets (RFC 6455), as much of them as it takes to send: what a client says is read for pings and the end.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Events;

/// What the other side proves that it knows (1.3 of the RFC).
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The longest message that a control frame can hold.
const CONTROL: u64 = 125;

/// Whether a request wants to become a web socket.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade
        .is_some_and(|upgrade| upgrade.split(',').any(|name| name.trim().eq_ignore_ascii_case("websocket")))
}

/// Accepts it, and sends events until either side ends.
pub(super) fn accept(request: &mut Request, events: Events) -> Response {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let Some(proof) = key.map(proof) else {
        return (StatusCode::BAD_REQUEST, "the header Sec-WebSocket-Key is missing\n").into_response();
    };
    if request.headers().get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
        return (StatusCode::UPGRADE_REQUIRED, version, "only version 13 is spoken\n").into_response();
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(socket) = upgraded.await {
            let (reader, writer) = tokio::io::split(TokioIo::new(socket));
            // However it ends, there is nobody to tell.
            let _ = talk(reader, writer, events).await;
        }
    });
    let headers = [
        (header::UPGRADE, "websocket".to_owned()),
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, proof),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn proof(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{}{SALT}", key.trim()).as_bytes()))
}

async fn talk(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut events: Events,
) -> std::io::Result<()> {
    let (replies, mut to_say) = mpsc::channel(4);
    let read = read(reader, replies);
    let write = async {
        loop {
            let (kind, payload) = tokio::select! {
                Some(reply) = to_say.recv() => reply,
                event = events.next() => match event {
                    Some(event) => (TEXT, event),
                    // 1001: the endpoint goes away.
                    None => (CLOSE, Bytes::from_static(&[3, 233])),
                },
            };
            writer.write_all(&head(kind, payload.len())).await?;
            writer.write_all(&payload).await?;
            writer.flush().await?;
            if kind == CLOSE {
                return writer.shutdown().await;
            }
        }
    };
    // When nothing can be read any more, the other side is gone; after its close frame it still gets ours.
    tokio::select! {
        gone = read => gone,
        done = write => done,
    }
}

/// The head of an unmasked frame that is a whole message.
fn head(kind: u8, length: usize) -> Vec<u8> {
    let mut head = vec![0x80 | kind];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => head.push(short),
        (_, Ok(medium)) => {
            head.push(126);
            head.extend(medium.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

/// Reads frames: pings and the close are answered, the rest is passed over. Ends when the other side is gone.
async fn read(mut reader: impl AsyncRead + Unpin, replies: mpsc::Sender<(u8, Bytes)>) -> std::io::Result<()> {
    loop {
        let kind = reader.read_u8().await? & 0x0f;
        let length = reader.read_u8().await?;
        let is_masked = length & 0x80 != 0;
        let length = match length & 0x7f {
            126 => u64::from(reader.read_u16().await?),
            127 => reader.read_u64().await?,
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if is_masked {
            reader.read_exact(&mut mask).await?;
        }
        let mut frame = (&mut reader).take(length);
        if !matches!(kind, CLOSE | PING) || length > CONTROL {
            tokio::io::copy(&mut frame, &mut tokio::io::sink()).await?;
            continue;
        }
        let mut payload = Vec::new();
        frame.read_to_end(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let reply = if kind == PING { PONG } else { CLOSE };
        if replies.send((reply, payload.into())).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_rfc() {
        assert_eq!(proof("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn lengths_are_written_in_one_three_or_nine_bytes() {
        assert_eq!(head(TEXT, 125), [0x81, 125]);
        assert_eq!(head(TEXT, 126), [0x81, 126, 0, 126]);
        assert_eq!(head(TEXT, 70_000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }

    #[tokio::test]
    async fn pings_are_answered_and_other_frames_passed_over() {
        let frames: Vec<u8> = [
            &[0x81, 0x82, 1, 2, 3, 4, 0, 0][..],
            &[0x89, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2],
            &[0x88, 0x80, 0, 0, 0, 0],
        ]
        .concat();
        let (replies, mut said) = mpsc::channel(4);
        let end = read(&frames[..], replies).await;
        assert!(end.is_err(), "the other side is gone");
        assert_eq!(said.recv().await, Some((PONG, Bytes::from_static(b"ab"))));
        assert_eq!(said.recv().await, Some((CLOSE, Bytes::new())));
        assert_eq!(said.recv().await, None);
    }
}
