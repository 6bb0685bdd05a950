//! Several watches as one.

use std::collections::VecDeque;

use futures::stream::{BoxStream, SelectAll, select_all, unfold};
use futures::{Stream, StreamExt};
use kube::runtime::watcher::{Error, Event, Result};

type Watch<K> = BoxStream<'static, Result<Event<K>>>;

/// So often a list is refused before nobody waits for it any more.
const REFUSALS: u32 = 3;

/// Where a merged watch stands.
enum State<K> {
    /// Nothing is asked yet.
    New,
    /// The watches list one after the other: what a cache hears between the begin and the end of a list is the whole list.
    Lists { listed: Vec<Watch<K>>, lists: Asked<K>, begun: bool, rest: VecDeque<Asked<K>> },
    /// All lists are whole.
    Follows(SelectAll<Watch<K>>),
}

/// A watch whose list is not whole yet, and how often it was refused.
struct Asked<K> {
    watch: Watch<K>,
    refusals: u32,
}

impl<K> Asked<K> {
    /// Whether it is refused for good. An API server that has just started refuses for a moment, too.
    const fn is_refused(&self) -> bool {
        self.refusals >= REFUSALS
    }
}

/// The events of all watches that `start` gives, with one begin and one end around their lists together.
///
/// A watch that lost its place begins a new list. A cache would take that for all there is, so all begin anew then.
///
/// One that may not be listed, for example because the namespace and the rights in it are gone, holds up none of the others:
/// it comes last, and once the others are whole, so is the list. When it may be listed again, all begin anew.
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
            let mut rest: VecDeque<_> = start().into_iter().map(|watch| Asked { watch, refusals: 0 }).collect();
            let lists = rest.pop_front()?;
            Some((None, State::Lists { listed: Vec::new(), lists, begun: false, rest }))
        }
        State::Lists { mut listed, lists, rest, .. }
            if !listed.is_empty() && lists.is_refused() && rest.iter().all(Asked::is_refused) =>
        {
            listed.extend([lists].into_iter().chain(rest).map(|asked| asked.watch));
            Some((Some(Ok(Event::InitDone)), State::Follows(select_all(listed))))
        }
        State::Lists { mut listed, mut lists, begun, mut rest } => match lists.watch.next().await? {
            Ok(Event::Init) if begun => Some((None, State::New)),
            Ok(Event::Init) => {
                let is_first = listed.is_empty();
                Some((is_first.then_some(Ok(Event::Init)), State::Lists { listed, lists, begun: true, rest }))
            }
            Ok(Event::InitDone) => {
                listed.push(lists.watch);
                Some(match rest.pop_front() {
                    Some(lists) => (None, State::Lists { listed, lists, begun: false, rest }),
                    None => (Some(Ok(Event::InitDone)), State::Follows(select_all(listed))),
                })
            }
            Err(error) if !begun && is_refusal(&error) => {
                lists.refusals += 1;
                rest.push_back(lists);
                let lists = rest.pop_front()?;
                Some((Some(Err(error)), State::Lists { listed, lists, begun, rest }))
            }
            other => Some((Some(other), State::Lists { listed, lists, begun, rest })),
        },
        State::Follows(mut all) => match all.next().await? {
            Ok(Event::Init) => Some((None, State::New)),
            other => Some((Some(other), State::Follows(all))),
        },
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::InitialListFailed(kube::Error::Api(status)) if status.is_forbidden())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{FutureExt, stream};
    use kube::core::Status;

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

    fn refused() -> Told {
        let status = Status::failure("models is forbidden", "Forbidden").with_code(403);
        Err(Error::InitialListFailed(kube::Error::Api(Box::new(status))))
    }

    #[test]
    fn a_namespace_that_may_not_be_listed_holds_up_none_of_the_others() {
        let whole = |name| vec![Ok(Event::Init), Ok(Event::InitApply(name)), Ok(Event::InitDone)];
        let gone = || vec![refused(), refused(), refused(), refused()];
        let told = heard(vec![vec![gone(), whole("b"), whole("c")]]);
        assert_eq!(told[..5], ["error", "begin", "listed b", "listed c", "error"]);
        assert_eq!(told[5..], ["error", "end", "error"]);
        // Refused for a moment, it is not left out.
        let late = vec![refused(), refused(), Ok(Event::Init), Ok(Event::InitApply("a")), Ok(Event::InitDone)];
        assert_eq!(heard(vec![vec![late, whole("b")]]), ["error", "begin", "listed b", "error", "listed a", "end"]);
        // Nothing is known where all are refused.
        assert!(heard(vec![vec![gone(), gone()]]).iter().all(|told| told == "error"));
        // One that may be listed again begins all anew.
        let back = vec![refused(), refused(), refused(), Ok(Event::Init), Ok(Event::InitApply("a"))];
        let told = heard(vec![vec![back, whole("b")], vec![whole("a2"), whole("b2")]]);
        assert_eq!(told[told.len() - 5..], ["end", "begin", "listed a2", "listed b2", "end"]);
    }
}
