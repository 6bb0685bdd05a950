//! Several watches as one.

use std::mem;

use futures::stream::{BoxStream, SelectAll, select_all, unfold};
use futures::{Stream, StreamExt};
use kube::runtime::watcher::{Event, Result};

type Watch<K> = BoxStream<'static, Result<Event<K>>>;

/// Where a merged watch stands.
enum State<K> {
    /// Nothing is asked yet.
    New,
    /// The watches list one after the other: what a cache hears between the begin and the end of a list is the whole list.
    Lists { listed: Vec<Watch<K>>, lists: Watch<K>, begun: bool, rest: Vec<Watch<K>> },
    /// All lists are whole.
    Follows(SelectAll<Watch<K>>),
}

/// The events of all watches that `start` gives, with one begin and one end around their lists together.
///
/// A watch that lost its place begins a new list. A cache would take that for all there is, so all begin anew then.
pub(crate) fn merged<K: Send + 'static>(
    start: impl Fn() -> Vec<Watch<K>> + Send + Sync + 'static,
) -> impl Stream<Item = Result<Event<K>>> + Send {
    unfold((State::New, start), |(mut state, start)| async move {
        loop {
            let (event, next) = step(state, &start).await?;
            state = next;
            if let Some(event) = event {
                return Some((event, (state, start)));
            }
        }
    })
}

/// One event of one watch, and what it means for all of them together. `None`: a watch ended, which none does.
async fn step<K: Send + 'static>(
    state: State<K>,
    start: &(impl Fn() -> Vec<Watch<K>> + Sync),
) -> Option<(Option<Result<Event<K>>>, State<K>)> {
    match state {
        State::New => {
            let mut rest = start();
            rest.reverse();
            let lists = rest.pop()?;
            Some((None, State::Lists { listed: Vec::new(), lists, begun: false, rest }))
        }
        State::Lists { mut listed, mut lists, begun, mut rest } => match lists.next().await? {
            Ok(Event::Init) if begun => Some((None, State::New)),
            Ok(Event::Init) => {
                let is_first = listed.is_empty();
                Some((is_first.then_some(Ok(Event::Init)), State::Lists { listed, lists, begun: true, rest }))
            }
            Ok(Event::InitDone) => {
                if let Some(next) = rest.pop() {
                    listed.push(mem::replace(&mut lists, next));
                    return Some((None, State::Lists { listed, lists, begun: false, rest }));
                }
                listed.push(lists);
                Some((Some(Ok(Event::InitDone)), State::Follows(select_all(listed))))
            }
            other => Some((Some(other), State::Lists { listed, lists, begun, rest })),
        },
        State::Follows(mut all) => match all.next().await? {
            Ok(Event::Init) => Some((None, State::New)),
            other => Some((Some(other), State::Follows(all))),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{FutureExt, stream};
    use kube::runtime::watcher::Error;

    use super::*;

    type Told = Result<Event<&'static str>>;

    fn word(event: &Told) -> String {
        match event {
            Ok(Event::Init) => "begin".to_owned(),
            Ok(Event::InitApply(name)) => format!("listed {name}"),
            Ok(Event::InitDone) => "end".to_owned(),
            Ok(Event::Apply(name)) => format!("changed {name}"),
            Ok(Event::Delete(name)) => format!("deleted {name}"),
            Err(_) => "error".to_owned(),
        }
    }

    /// What a cache hears of watches that tell this, in their first and in later lives, and nothing after it.
    fn heard(lives: Vec<Vec<Vec<Told>>>) -> Vec<String> {
        let lives = Mutex::new(lives.into_iter());
        let start = move || {
            let life = lives.lock().ok().and_then(|mut lives| lives.next()).unwrap_or_default();
            life.into_iter().map(|events| stream::iter(events).chain(stream::pending()).boxed()).collect()
        };
        let mut all = std::pin::pin!(merged(start));
        // Streams of values are ready at once; one that waits has told everything.
        std::iter::from_fn(|| all.next().now_or_never().flatten()).map(|event| word(&event)).collect()
    }

    #[test]
    fn lists_of_several_namespaces_are_one_list() {
        let life = vec![
            vec![Ok(Event::Init), Ok(Event::InitApply("a1")), Ok(Event::InitDone), Ok(Event::Apply("a2"))],
            vec![Err(Error::NoResourceVersion), Ok(Event::Init), Ok(Event::InitDone)],
            vec![Ok(Event::Init), Ok(Event::InitApply("c1")), Ok(Event::InitDone), Ok(Event::Delete("c1"))],
        ];
        let mut told = heard(vec![life]);
        // After the list, the namespaces tell in any order.
        told[5..].sort();
        assert_eq!(told, ["begin", "listed a1", "error", "listed c1", "end", "changed a2", "deleted c1"]);
    }

    #[test]
    fn a_list_that_begins_anew_begins_all_anew() {
        // One that follows lost its place; one did so in the middle of its list.
        let follows = vec![
            vec![Ok(Event::Init), Ok(Event::InitDone)],
            vec![Ok(Event::Init), Ok(Event::InitDone), Ok(Event::Init), Ok(Event::InitApply("b"))],
        ];
        let lists = vec![
            vec![Ok(Event::Init), Ok(Event::InitApply("a")), Ok(Event::Init)],
            vec![Ok(Event::Init), Ok(Event::InitDone)],
        ];
        for (first, before) in [(follows, &["begin", "end"][..]), (lists, &["begin", "listed a"])] {
            let later = vec![
                vec![Ok(Event::Init), Ok(Event::InitApply("a3")), Ok(Event::InitDone)],
                vec![Ok(Event::Init), Ok(Event::InitDone)],
            ];
            assert_eq!(heard(vec![first, later]), [before, &["begin", "listed a3", "end"]].concat());
        }
    }
}
