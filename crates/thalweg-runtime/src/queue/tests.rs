//! What the queue promises to producers and to its consumer.

use std::sync::atomic::AtomicU64;

use super::*;

#[derive(Debug, PartialEq)]
enum Item {
    Number(u64),
    Signal,
}

impl Entry for Item {
    fn weight(&self) -> usize {
        usize::from(matches!(self, Self::Number(_)))
    }

    fn bytes(&self) -> usize {
        8
    }
}

fn queue(messages: usize) -> Queue<Entries<Item>> {
    Queue::new(Bounds::messages(messages), Arc::new(NoWake))
}

fn drain(queue: &Queue<Entries<Item>>) -> Vec<Item> {
    match queue.take() {
        Taken::Bucket(entries) => entries.list.into(),
        _ => Vec::new(),
    }
}

#[test]
fn a_consumer_takes_whatever_has_arrived() {
    let queue = queue(10);
    for number in 0..3 {
        assert_eq!(queue.offer(8, WhenFull::Refuse, |b| b.push(Item::Number(number))), (Offer::Accepted, 0));
    }
    assert_eq!(queue.waiting(), 3);
    assert_eq!(drain(&queue), [Item::Number(0), Item::Number(1), Item::Number(2)]);
    assert!(matches!(queue.take(), Taken::Empty));
    queue.close();
    assert!(matches!(queue.take(), Taken::Closed));
}

#[test]
fn a_full_queue_refuses_or_drops_the_oldest_and_never_a_signal() {
    let queue = queue(2);
    queue.force(|b| b.push(Item::Signal));
    for number in 0..2 {
        queue.offer(8, WhenFull::Refuse, |b| b.push(Item::Number(number)));
    }
    assert_eq!(queue.offer(8, WhenFull::Refuse, |b| b.push(Item::Number(9))), (Offer::Full, 0));
    assert_eq!(queue.offer(8, WhenFull::DropOldest, |b| b.push(Item::Number(2))), (Offer::Accepted, 1));
    queue.force(|b| b.push(Item::Signal));
    assert_eq!(drain(&queue), [Item::Signal, Item::Number(1), Item::Number(2), Item::Signal]);
}

#[test]
fn bytes_are_a_bound_too_but_one_large_message_always_passes() {
    let queue: Queue<Entries<Item>> = Queue::new(Bounds { messages: 10, bytes: 16 }, Arc::new(NoWake));
    assert_eq!(queue.offer(99, WhenFull::Refuse, |b| b.push(Item::Number(0))).0, Offer::Accepted);
    assert_eq!(queue.offer(9, WhenFull::Refuse, |b| b.push(Item::Number(1))).0, Offer::Full);
    assert_eq!(queue.offer(8, WhenFull::Refuse, |b| b.push(Item::Number(1))).0, Offer::Accepted);
}

#[test]
fn nothing_is_lost_between_a_pushing_thread_and_a_taking_one() {
    let queue = Arc::new(queue(7));
    let producer = Arc::clone(&queue);
    let pushed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for number in 0..10_000 {
                while producer.offer(8, WhenFull::Refuse, |b| b.push(Item::Number(number))).0 == Offer::Full {
                    assert!(producer.room().await);
                }
            }
            producer.close();
        });
    });
    let mut next = 0;
    loop {
        match queue.take() {
            Taken::Bucket(entries) => {
                for item in entries.list {
                    assert_eq!(item, Item::Number(next));
                    next += 1;
                }
            }
            Taken::Empty => std::thread::yield_now(),
            Taken::Closed => break,
        }
    }
    pushed.join().unwrap();
    assert_eq!(next, 10_000);
}

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn the_consumer_is_woken_once_per_hand_over_and_a_starved_producer_when_there_is_room() {
    let consumer = Arc::new(Count::default());
    let queue: Queue<Entries<Item>> = Queue::new(Bounds::messages(1), Arc::clone(&consumer) as Arc<dyn Wake>);
    let producer = Arc::new(Count::default());
    let waiting: Arc<dyn Wake> = Arc::clone(&producer) as Arc<dyn Wake>;
    assert!(!queue.is_full_for(&waiting));
    queue.offer(8, WhenFull::DropOldest, |b| b.push(Item::Number(0)));
    queue.offer(8, WhenFull::DropOldest, |b| b.push(Item::Number(1)));
    assert_eq!(consumer.0.load(Relaxed), 1);
    assert!(queue.is_full_for(&waiting));
    assert_eq!(producer.0.load(Relaxed), 0);
    assert_eq!(drain(&queue), [Item::Number(1)]);
    assert_eq!(producer.0.load(Relaxed), 1);
}

#[test]
fn a_stopped_queue_takes_nothing_more() {
    let queue = queue(1);
    queue.offer(8, WhenFull::Refuse, |b| b.push(Item::Number(0)));
    queue.stop();
    assert_eq!(queue.offer(8, WhenFull::DropOldest, |b| b.push(Item::Number(1))).0, Offer::Stopped);
    assert!(!queue.force(|b| b.push(Item::Signal)));
    assert_eq!(drain(&queue), [Item::Number(0)]);
}
