//! [`LogPeer`]: one logger as a producer sees it: the socket to it, whether it is available, and
//! what is in flight to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outage::News;
use super::under_way::UnderWay;
use super::watch::{Reach, Watch};
use super::{FAREWELL_QUIET, NodeError, handshake};
use crate::telemetry::{NodeMetrics, NodeSocket};
use crate::transport::{
    ConnectionEventKind, Context, Interest, Monitor, PollSet, Socket, SocketKind, SocketOptions,
    TransportError, Waker,
};

/// A logger that closes its connection sooner than this after it is seen down has not said goodbye,
/// but was cut off or killed: an orderly logger waits for [`FAREWELL_QUIET`].
const SOONEST_FAREWELL: Duration = Duration::from_millis(FAREWELL_QUIET.as_millis() as u64 / 2);
/// How much longer than allowed a logger may take to leave and still count as orderly.
const FAREWELL_MARGIN: Duration = Duration::from_secs(1);

/// What applies to all loggers of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// How many batches libzmq holds for one logger.
    pub(super) log_sndhwm: i32,
    /// How long a logger may take to leave.
    pub(super) shutdown_timeout: Duration,
    pub(super) is_encrypted: bool,
    /// Each node has its own key, so one logger that refuses this node does not end it.
    pub(super) is_per_node: bool,
}

/// A logger.
pub(super) struct LogPeer {
    /// The name of the logger, if the endpoint is in the layout.
    name: Option<String>,
    endpoint: String,
    monitor: Monitor,
    socket: Socket,
    connected: bool,
    was_connected: bool,
    /// When it said goodbye, or died; `None` once it greets again.
    down_since: Option<Instant>,
    under_way: UnderWay,
    watch: Watch,
    /// Its last loss was worth a warning, so its return is logged at the same level.
    was_trouble: bool,
    terms: Terms,
}

/// Something to report about a logger.
pub(super) enum Remark {
    /// It closed its connection in good order, or is back after that.
    Note(String),
    /// Its connection was lost, or is back after that.
    Trouble(String),
    /// A handshake failed, which may happen many times a second.
    Handshake(String),
}

impl LogPeer {
    /// Connects to a logger, and keeps trying.
    pub(super) fn connect(
        context: &Context,
        name: Option<String>,
        endpoint: String,
        options: &SocketOptions,
        terms: Terms,
        waker: &Arc<Waker>,
    ) -> Result<Self, TransportError> {
        let socket = Socket::new(context, SocketKind::Push, options)?;
        let monitor = Monitor::new(context, &socket)?;
        socket.connect(&endpoint)?;
        Ok(LogPeer {
            name,
            endpoint,
            monitor,
            socket,
            connected: false,
            was_connected: false,
            down_since: None,
            under_way: UnderWay::new(terms.log_sndhwm),
            watch: Watch::new("logger", Arc::clone(waker), Instant::now()),
            was_trouble: false,
            terms,
        })
    }

    /// Its name, or its endpoint if it has none.
    pub(super) fn id(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.endpoint)
    }

    /// Whether it is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it accepts batches: it is connected, and has not said goodbye.
    pub(super) fn is_there(&self) -> bool {
        self.connected && self.down_since.is_none()
    }

    /// Hands over a batch; `false` if there is no room.
    pub(super) fn try_send(
        &mut self,
        frames: &[&[u8]; 4],
        records: u64,
    ) -> Result<bool, TransportError> {
        let sent = self.socket.try_send(frames)?;
        if sent {
            self.under_way.add(frames.iter().map(|frame| frame.len()).sum(), records);
        }
        Ok(sent)
    }

    /// Records that the node of that name came up or went down.
    pub(super) fn set_down(&mut self, name: &str, down: bool, now: Instant) {
        if self.name.as_deref() == Some(name) {
            self.down_since = down.then_some(now);
        }
    }

    /// Waits for connection events, and with `room` for room.
    pub(super) fn poll<'a>(&'a self, poll: &mut PollSet<'a>, room: bool) {
        poll.add_monitor(&self.monitor);
        if room && self.is_there() {
            poll.add(&self.socket, Interest::Writable);
        }
    }

    /// When [`LogPeer::read_connection`] has something to report even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.watch.deadline()
    }

    /// Reads connection events, and returns one remark to log; `None` if there are no more.
    ///
    /// # Errors
    /// Also when wrong keys keep the logger and this node from communicating, and all share the
    /// same keys.
    pub(super) fn read_connection(
        &mut self,
        metrics: &NodeMetrics,
        now: Instant,
    ) -> Result<Option<Remark>, NodeError> {
        while !self.monitor.is_settled()
            && let Some(event) = self.monitor.try_next()?
        {
            let remark = match event.kind {
                ConnectionEventKind::HandshakeSucceeded => {
                    self.connected = true;
                    if std::mem::replace(&mut self.was_connected, true) {
                        metrics.reconnects[NodeSocket::Push].inc();
                    }
                    self.news(None, now)
                }
                // libzmq also reports connections without a handshake.
                ConnectionEventKind::Disconnected if self.connected => {
                    let lost = self.lose(now);
                    metrics.log_records_unconfirmed.inc_by(lost.unwrap_or(0));
                    self.news(lost, now)
                }
                _ => {
                    if let Some(fault) = event.handshake_fault() {
                        metrics.handshakes_failed[NodeSocket::Push].inc();
                        self.watch.failed(fault, now);
                    }
                    let line = match handshake::look_at(&event, self.who(), self.terms.is_encrypted)
                    {
                        Err(refused) if self.terms.is_per_node => Some(refused.to_string()),
                        outcome => outcome?,
                    };
                    line.map(Remark::Handshake)
                }
            };
            if remark.is_some() {
                return Ok(remark);
            }
        }
        Ok(self.news(Some(0), now))
    }

    /// Records that the connection is gone. Returns how many records may not have arrived; `None`
    /// if the logger left in good order.
    fn lose(&mut self, now: Instant) -> Option<u64> {
        self.connected = false;
        let under_way = self.under_way.take();
        let after_goodbye = self.down_since.map(|since| now.saturating_duration_since(since));
        let longest = self.terms.shutdown_timeout.saturating_add(FAREWELL_MARGIN);
        // A logger that leaves reads everything in flight before it closes the connection.
        let in_good_order =
            after_goodbye.is_some_and(|after| (SOONEST_FAREWELL..=longest).contains(&after));
        (!in_good_order).then_some(under_way)
    }

    fn news(&mut self, lost: Option<u64>, now: Instant) -> Option<Remark> {
        let reach = if self.connected { Reach::There } else { Reach::Away(&self.endpoint) };
        let news = self.watch.observe(reach, now)?;
        let who = self.who_and_where();
        let line = news.of(&who);
        let line = match (news, lost) {
            (News::Missing { .. }, _) => {
                let cause = self.watch.cause().unwrap_or("cause unknown");
                format!("{line}: {cause}; still trying")
            }
            (News::Lost { .. }, None) => format!("{who} closed the connection: it is leaving"),
            (News::Lost { .. }, Some(lost)) if lost > 0 => {
                format!("{line}; up to {lost} log records may not have arrived")
            }
            _ => line,
        };
        match news {
            News::Lost { .. } => self.was_trouble = lost.is_some(),
            News::Missing { .. } => self.was_trouble = true,
            News::Back { .. } | News::Found { .. } => {}
        }
        Some(if self.was_trouble { Remark::Trouble(line) } else { Remark::Note(line) })
    }

    fn who_and_where(&self) -> String {
        format!("{} at {}", self.who(), self.endpoint)
    }

    /// Why it accepts no batches, if known.
    pub(super) fn why_not_there(&self) -> String {
        let why = match (self.connected, self.watch.cause()) {
            (true, _) => "it has said goodbye, or is not on the bus",
            (false, Some(cause)) => cause,
            (false, None) => "not connected",
        };
        format!("{}: {why}", self.who_and_where())
    }

    /// Changes whenever [`LogPeer::why_not_there`] does.
    pub(super) fn changes(&self) -> u64 {
        let standing = u64::from(self.connected) + 2 * u64::from(self.down_since.is_some());
        4 * self.watch.changes() + standing
    }

    fn who(&self) -> &str {
        self.name.as_deref().unwrap_or("the logger")
    }

    /// Closes the socket, which keeps sending for `linger_ms`. Returns how many records may not
    /// have arrived: those in flight, and those that a logger that is down may never read.
    pub(super) fn close(mut self, linger_ms: i32) -> (u64, u64) {
        if let Err(error) = self.socket.set_linger(linger_ms) {
            log::debug!("{error}");
        }
        let records = self.under_way.take();
        if self.down_since.is_none() { (records, 0) } else { (0, records) }
    }
}
