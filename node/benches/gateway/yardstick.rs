//! A plain WebSocket server, as one would write it with tokio-tungstenite: what it costs to send
//! messages that are ready, and to read messages and throw them away.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::plan::Api;

/// Messages for a client: a text, and how many times.
type Order = (Utf8Bytes, u32);
type Clients = Rc<RefCell<Vec<UnboundedSender<Order>>>>;

pub(crate) fn run(api: Api) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let clients = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [http, orders] = [&clients, &control].map(|l| l.local_addr().unwrap().to_string());
        println!("{}", serde_json::json!({ "ready": { "http": http, "control": orders } }));
        let (orders, _) = control.accept().await.unwrap();
        let senders = Clients::default();
        tokio::task::spawn_local(obey(orders, Rc::clone(&senders)));
        loop {
            let (stream, _) = clients.accept().await.unwrap();
            let (sender, receiver) = unbounded_channel();
            senders.borrow_mut().push(sender);
            tokio::task::spawn_local(serve(stream, receiver, api));
        }
    });
}

/// Passes orders on to all clients.
async fn obey(mut orders: TcpStream, clients: Clients) {
    while let Ok(count) = orders.read_u32().await {
        let mut text = vec![0; orders.read_u32().await.unwrap() as usize];
        orders.read_exact(&mut text).await.unwrap();
        let text = Utf8Bytes::try_from(text).unwrap();
        for client in clients.borrow().iter() {
            let _ = client.send((text.clone(), count));
        }
    }
}

async fn serve(stream: TcpStream, mut orders: UnboundedReceiver<Order>, api: Api) {
    stream.set_nodelay(true).unwrap();
    let mut socket = accept_async(stream).await.unwrap();
    let mut is_first = true;
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(_))) if is_first => {
                    is_first = false;
                    let answer = format!("{}}}", api.answer());
                    socket.send(Message::Text(answer.into())).await.unwrap();
                }
                // Sends the answer.
                Some(Ok(Message::Ping(_))) => socket.flush().await.unwrap(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            Some(order) = orders.recv() => {
                let mut next = Some(order);
                while let Some((text, count)) = next {
                    for _ in 0..count {
                        if socket.feed(Message::Text(text.clone())).await.is_err() {
                            return;
                        }
                    }
                    next = orders.try_recv().ok();
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}
