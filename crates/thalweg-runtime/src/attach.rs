//! Brings the scans of a rule to streams: inlets of its own, or one that all rules of a shared stream read.
//!
//! Used alike by the runtime, which then starts sources, and by the rig, which feeds the inlets by hand.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::polled::Poller;
use thalweg_core::{Clock, Diagnostic, Projection, Value};
use tokio::sync::oneshot;

use crate::chain::Chain;
use crate::compile::{CompiledRule, CompiledScan};
use crate::egress::options::SinkOptions;
use crate::event_groups::Order;
use crate::ingest::Decode;
use crate::ingest::port::Inlet;
use crate::names::{Alike, Names};
use crate::operator::List;
use crate::queue::{Bounds, Queue};
use crate::ruleset::cpu::Cpu;
use crate::ruleset::tally::Shown;
use crate::ruleset::view::{Seen, View};
use crate::ruleset::{Quiet, RuleSet};
use crate::shard::inbox::{Control, Inbox, Key, Ready};
use crate::shard::stream::{Place, Reader, RuleInlet, StreamRun};
use crate::shard::twins::first_of;
use crate::windows::CommonWindow;

/// The streams of one runtime.
pub(crate) struct Streams {
    clock: Arc<dyn Clock>,
    keys: AtomicU64,
    shared: Mutex<HashMap<Arc<str>, Arc<SharedStream>>>,
    names: Names,
    /// Of the actions of rules.
    options: Alike<SinkOptions>,
    /// Of the SELECT lists of rules.
    lists: Alike<List>,
}

/// A stream that several rules read.
pub(crate) struct SharedStream {
    name: Arc<str>,
    key: Key,
    inbox: Arc<Inbox>,
    inlet: Arc<Inlet>,
    decoder: Arc<NodeMetrics>,
    shown: Arc<Shown>,
    state: Mutex<SharedState>,
}

struct SharedState {
    /// The union of what its rules want.
    projection: Projection,
    n_readers: usize,
    /// The windows that rules have in common, by what is equal of their plans, and the event-time groups, with those rules.
    windows: HashMap<Arc<str>, (Arc<CommonWindow>, Vec<Key>)>,
    /// What its rules see of it.
    views: Alike<Seen>,
}

/// Where a rule lives and what its scans need to know about it.
pub(crate) struct Home<'a> {
    pub rule: Key,
    pub inbox: &'a Arc<Inbox>,
    /// Where a shared stream is made that does not run yet: never on a worker that may block.
    pub shared_at: &'a Arc<Inbox>,
    /// Where streams that live elsewhere put its rows; made when there is one.
    pub inlet: OnceCell<Arc<RuleInlet>>,
    /// The node that counts what is dropped there: the rule's first operator.
    pub first: Arc<NodeMetrics>,
    /// Messages that may wait in an inlet.
    pub capacity: usize,
    /// Whether it may ask its streams to pause.
    pub pauses: bool,
    /// The time that is spent for it.
    pub cpu: Arc<Cpu>,
    /// Of a split stream it reads only this part.
    pub part: Option<u32>,
}

/// Under which name a stream, or a part of one that is split, is known.
pub(crate) fn known_as(stream: &Arc<str>, part: Option<u32>) -> Arc<str> {
    part.map_or_else(|| Arc::clone(stream), |part| Arc::from(format!("{stream}#{part}")))
}

impl Home<'_> {
    /// Where the rule is, seen from a stream on the shard of `inbox`.
    fn place(&self, inbox: &Arc<Inbox>) -> Place {
        if Arc::ptr_eq(self.inbox, inbox) {
            return Place::Here;
        }
        Place::There(Arc::clone(self.inlet()))
    }

    /// Where what other shards have for the rule is put.
    pub(crate) fn inlet(&self) -> &Arc<RuleInlet> {
        self.inlet.get_or_init(|| {
            let bounds = Bounds::messages(self.capacity);
            let metrics = Arc::clone(&self.first);
            metrics.buffer_capacity.store(bounds.messages as u64, Relaxed);
            let queue = Queue::new(bounds, self.inbox.waker(Ready::Rule(self.rule)));
            Arc::new(RuleInlet { queue, metrics, pushes_back: self.pauses })
        })
    }
}

/// A scan that has found its stream.
pub(crate) struct Attached {
    pub key: Key,
    pub inbox: Arc<Inbox>,
    pub inlet: Arc<Inlet>,
    /// Metrics of the decoder's node.
    pub decoder: Arc<NodeMetrics>,
    /// The number of the scan within the rule.
    pub input: usize,
    /// Whether the stream was made for this rule, so that its source is to be started now.
    pub is_new: bool,
    pub shared: Option<Arc<SharedStream>>,
    /// What the stream has shown its quiet rules.
    pub shown: Arc<Shown>,
    reader: Reader,
    decode: Option<Box<Decode>>,
}

impl Attached {
    /// Lets the rule, which its shard has taken over by now, read the stream.
    pub(crate) fn join(self) -> (Arc<Inlet>, Option<Arc<SharedStream>>) {
        let (stream, reader) = (self.key, Box::new(self.reader));
        self.inbox.send(Control::Join { stream, reader, decode: self.decode });
        (self.inlet, self.shared)
    }

    /// Which rule, or part of one, reads it.
    pub(crate) fn rule(&self) -> Key {
        self.reader.rule
    }

    /// Lets another one, `rule`, read exactly the same before.
    pub(crate) fn join_before(&mut self, rule: Key) {
        let Reader { view, condition, .. } = &self.reader;
        let reader = Reader {
            rule,
            input: 0,
            view: view.clone(),
            place: Place::Here,
            condition: condition.clone(),
            node: None,
            quiet: None,
            cpu: Arc::default(),
            pauses: false,
        };
        self.inbox.send(Control::Join {
            stream: self.key,
            reader: Box::new(reader),
            decode: self.decode.take(),
        });
    }

    /// The rule does not come up.
    pub(crate) fn leave(self, streams: &Streams) {
        match self.shared {
            Some(stream) => streams.leave(&stream, self.reader.rule),
            None => {
                // Stopping a stream twice, that two scans read, does no harm.
                self.inlet.queue.stop();
                self.inbox.send(Control::DropStream(self.key));
            }
        }
    }

    /// Whether the stream asks the rule's condition.
    pub(crate) fn asks(&self) -> bool {
        self.reader.condition.is_some()
    }

    /// Whether the rule stands on the shard of a stream that others may read too.
    pub(crate) fn is_here(&self) -> bool {
        self.shared.is_some() && matches!(self.reader.place, Place::Here)
    }

    /// Has the rule ask its condition by itself.
    pub(crate) fn ask_nothing(&mut self) {
        self.reader.condition = None;
    }

    /// Has the rule called only when rows pass its condition.
    pub(crate) fn quiet(&mut self, quiet: Quiet) {
        self.reader.quiet = Some(quiet);
    }
}

impl Streams {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            keys: AtomicU64::new(1),
            shared: Mutex::default(),
            names: Names::default(),
            options: Alike::default(),
            lists: Alike::default(),
        }
    }

    /// The names of nodes.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The options of actions.
    pub(crate) fn options(&self) -> &Alike<SinkOptions> {
        &self.options
    }

    /// SELECT lists.
    pub(crate) fn lists(&self) -> &Alike<List> {
        &self.lists
    }

    /// The name of a node with this text.
    pub(crate) fn name(&self, text: String) -> Arc<str> {
        self.names.same(&Arc::from(text))
    }

    /// A name for a new stream or rule run.
    pub(crate) fn key(&self) -> Key {
        Key(self.keys.fetch_add(1, Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<SharedStream>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a shared stream lives, if it runs.
    pub(crate) fn home_of(&self, name: &str) -> Option<Arc<Inbox>> {
        self.lock().get(name).map(|stream| Arc::clone(&stream.inbox))
    }

    /// Brings one scan of a rule to its stream. Call [`Attached::join`] once the rule is on its shard.
    pub(crate) fn attach(
        &self,
        scans: &[CompiledScan],
        input: usize,
        resume: Option<Value>,
        home: &Home<'_>,
    ) -> Result<Attached, Diagnostic> {
        let scan = &scans[input];
        if !scan.scan.stream.shared {
            let (projection, view) = own_view(scans, input);
            return self.create(scan, projection, resume, (view, input), (home, home.inbox));
        }
        let mut streams = self.lock();
        let name = known_as(&scan.scan.stream.name, home.part);
        if let Some(stream) = streams.get(&name) {
            let stream = Arc::clone(stream);
            drop(streams);
            return self.enter(stream, scan, input, home);
        }
        let projection = scan.scan.projection.clone();
        let view = View::join(&mut projection.clone(), &scan.scan.projection);
        let mut attached =
            self.create(scan, projection.clone(), None, (view, input), (home, home.shared_at))?;
        let stream = Arc::new(SharedStream {
            name,
            key: attached.key,
            inbox: Arc::clone(&attached.inbox),
            inlet: Arc::clone(&attached.inlet),
            decoder: Arc::clone(&attached.decoder),
            shown: Arc::clone(&attached.shown),
            state: Mutex::new(SharedState {
                projection,
                n_readers: 1,
                windows: HashMap::new(),
                views: Alike::default(),
            }),
        });
        streams.insert(Arc::clone(&stream.name), Arc::clone(&stream));
        attached.shared = Some(stream);
        Ok(attached)
    }

    /// One more scan of a stream that only this rule reads: `first` has brought it.
    pub(crate) fn beside(
        &self,
        first: &Attached,
        scans: &[CompiledScan],
        input: usize,
        home: &Home<'_>,
    ) -> Attached {
        let (_, view) = own_view(scans, input);
        Attached {
            key: first.key,
            inbox: Arc::clone(&first.inbox),
            inlet: Arc::clone(&first.inlet),
            decoder: Arc::clone(&first.decoder),
            input,
            is_new: false,
            shared: None,
            shown: Arc::clone(&first.shown),
            reader: reader(&scans[input], input, view, home, home.place(&first.inbox)),
            decode: None,
        }
    }

    /// A new stream on the shard of `inbox`.
    fn create(
        &self,
        scan: &CompiledScan,
        projection: Projection,
        resume: Option<Value>,
        (view, input): (View, usize),
        (home, inbox): (&Home<'_>, &Arc<Inbox>),
    ) -> Result<Attached, Diagnostic> {
        let key = self.key();
        let waker = inbox.waker(Ready::Stream(key));
        let decoder = Arc::new(NodeMetrics::default());
        // A shared stream may be joined later by a rule that asks for metadata.
        let wants_meta = CompiledRule::wants_meta(&projection);
        let meta = (scan.scan.stream.shared || wants_meta, wants_meta);
        let decode =
            scan.format.decode(&Arc::new(projection), Arc::clone(&decoder), Arc::clone(&self.clock))?;
        let clock = Arc::clone(&self.clock);
        let inlet = Inlet::new(home.capacity, Arc::clone(&waker), clock, meta, resume);
        let shown = Arc::<Shown>::default();
        // Sockets wait where nothing blocks, which for a rule on a worker is elsewhere.
        inlet.polled_by(Arc::clone(home.shared_at) as Arc<dyn Poller>);
        let stream = StreamRun {
            key,
            inlet: Arc::clone(&inlet),
            decode,
            set: RuleSet::new(Arc::clone(&shown)),
            waker,
            has_ended: false,
            failed: None,
        };
        inbox.send(Control::AddStream(Box::new(stream)));
        let reader = reader(scan, input, view, home, home.place(inbox));
        let inbox = Arc::clone(inbox);
        let (is_new, shared, decode) = (true, None, None);
        Ok(Attached { key, inbox, inlet, decoder, input, is_new, shared, shown, reader, decode })
    }

    /// One more reader of a stream that runs: its slots are appended and the stream decodes them from now on.
    fn enter(
        &self,
        stream: Arc<SharedStream>,
        scan: &CompiledScan,
        input: usize,
        home: &Home<'_>,
    ) -> Result<Attached, Diagnostic> {
        let mut state = stream.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut projection = state.projection.clone();
        let view = View::join(&mut projection, &scan.scan.projection).kept(&state.views);
        let decode = if projection.slots.len() == state.projection.slots.len() {
            None
        } else {
            let want = Arc::new(projection.clone());
            Some(Box::new(scan.format.decode(&want, Arc::clone(&stream.decoder), Arc::clone(&self.clock))?))
        };
        let place = home.place(&stream.inbox);
        if CompiledRule::wants_meta(&projection) && stream.inlet.want_meta() {
            stream.inbox.send(Control::Drain { stream: stream.key });
        }
        state.projection = projection;
        state.n_readers += 1;
        drop(state);
        let reader = reader(scan, input, view, home, place);
        Ok(Attached {
            key: stream.key,
            inbox: Arc::clone(&stream.inbox),
            inlet: Arc::clone(&stream.inlet),
            decoder: Arc::clone(&stream.decoder),
            input,
            is_new: false,
            shown: Arc::clone(&stream.shown),
            reader,
            decode,
            shared: Some(stream),
        })
    }

    /// The common window of the rules with this key, to which one more comes. With it the operators of a new one, which
    /// `make` makes.
    pub(crate) fn common_window(
        &self,
        stream: &Arc<SharedStream>,
        (key, rule): (&str, Key),
        make: impl FnOnce() -> Option<Chain>,
    ) -> Option<(Arc<CommonWindow>, Option<Chain>)> {
        let mut state = stream.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((window, rules)) = state.windows.get_mut(key) {
            rules.push(rule);
            return Some((Arc::clone(window), None));
        }
        let chain = make()?;
        let metrics = chain.metrics().map(|(_, metrics)| Arc::clone(metrics)).collect();
        let window = CommonWindow { key: self.key(), common: Arc::default(), metrics, order: None };
        let window = Arc::new(window);
        state.windows.insert(Arc::from(key), (Arc::clone(&window), vec![rule]));
        Some((window, Some(chain)))
    }

    /// The event-time group of such rows that has the columns of one more rule. With it the operators of a new one, which
    /// `make` makes.
    pub(crate) fn event_group(
        &self,
        stream: &Arc<SharedStream>,
        (order, rule): (Order, Key),
        make: impl FnOnce() -> Option<Chain>,
    ) -> Option<(Arc<CommonWindow>, Option<Chain>)> {
        let mut state = stream.state.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |window: &CommonWindow| window.order.as_ref().is_some_and(|has| has.serves(&order));
        if let Some((window, rules)) = state.windows.values_mut().find(|(window, _)| serves(window)) {
            rules.push(rule);
            return Some((Arc::clone(window), None));
        }
        let chain = make()?;
        let metrics = chain.metrics().map(|(_, metrics)| Arc::clone(metrics)).take(1);
        let metrics = metrics.chain([Arc::default()]).collect();
        let name = Arc::from(format!("{order:?}"));
        let window = CommonWindow { key: self.key(), common: Arc::default(), metrics, order: Some(order) };
        let window = Arc::new(window);
        state.windows.insert(name, (Arc::clone(&window), vec![rule]));
        Some((window, Some(chain)))
    }

    /// A rule leaves a shared stream; the last one ends it (R8.3).
    pub(crate) fn leave(&self, stream: &Arc<SharedStream>, rule: Key) {
        let mut streams = self.lock();
        let mut state = stream.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.n_readers -= 1;
        state.windows.retain(|_, (window, rules)| {
            rules.retain(|other| *other != rule);
            if rules.is_empty() {
                let (rule, (done, _)) = (window.key, oneshot::channel());
                stream.inbox.send(Control::StopRule { rule, save: false, done });
            }
            !rules.is_empty()
        });
        stream.inbox.send(Control::Leave { stream: stream.key, rule });
        if state.n_readers == 0 {
            streams.remove(&stream.name);
            stream.inlet.queue.stop();
            stream.inlet.abandon();
            stream.inbox.send(Control::DropStream(stream.key));
        }
    }
}

/// What all scans of an unshared stream want of it, and what this one sees of that.
fn own_view(scans: &[CompiledScan], input: usize) -> (Projection, View) {
    let first = first_of(scans, input);
    let mut projection = scans[first].scan.projection.clone();
    let twins = (0..scans.len()).filter(|at| first_of(scans, *at) == first);
    for twin in twins {
        View::join(&mut projection, &scans[twin].scan.projection);
    }
    let view = View::join(&mut projection, &scans[input].scan.projection);
    (projection, view)
}

/// A rule on another shard asks its condition by itself.
fn reader(scan: &CompiledScan, input: usize, view: View, home: &Home<'_>, place: Place) -> Reader {
    let condition = scan.condition.as_ref().filter(|_| matches!(place, Place::Here));
    let condition = condition.map(|condition| Box::new(view.condition(condition)));
    let (rule, pauses, cpu) = (home.rule, home.pauses, Arc::clone(&home.cpu));
    // A part of a rule reads nothing else.
    let input = if home.part.is_some() { 0 } else { input };
    Reader { rule, input, view, place, condition, node: None, quiet: None, cpu, pauses }
}
