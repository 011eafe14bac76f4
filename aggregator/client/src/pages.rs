//! Lists over several pages (AIP-158). It keeps one page at a time; merging is the caller's choice.

use celeriac_proto::v1;

use crate::{Client, Error};

/// The most that the aggregator returns in one page.
const PAGE_SIZE_MAX: u64 = 1_000;
/// Full tasks may hold five texts of 64 KiB each: 100 of them stay below the 64 MiB that a message may have.
const FULL_TASKS_PAGE_SIZE_MAX: u64 = 100;

/// A list request.
pub trait List: Clone + Send + Sync + 'static {
    /// What answers it.
    type Page: Page + Send;

    /// The most to ask for in one page.
    fn page_size_max(&self) -> u64 {
        PAGE_SIZE_MAX
    }

    /// Sets which page to read.
    fn set_page(&mut self, size: i32, token: String);

    /// Reads that page.
    fn read(self, client: &Client) -> impl Future<Output = Result<Self::Page, Error>> + Send;
}

/// One page of a list, or several merged.
pub trait Page {
    /// How many things it holds.
    fn count(&self) -> usize;

    /// For the next page; empty on the last.
    fn next_page_token(&self) -> &str;

    /// Takes in a later page: the things are appended, the token is the later one's, `as_of` stays the earlier one's
    /// (nothing in it is older than that).
    fn merge(&mut self, later: Self);
}

/// A walk over the pages of a list.
#[derive(Debug)]
pub struct Pages<L> {
    client: Client,
    request: L,
    /// How many more may be returned; `None` is all.
    left: Option<u64>,
    /// The token of the page to read next; `None` when there is none.
    token: Option<String>,
}

impl<L: List> Pages<L> {
    pub(crate) fn new(client: Client, request: L, limit: Option<u64>) -> Self {
        Self {
            client,
            request,
            left: limit,
            token: Some(String::new()),
        }
    }

    /// Whether [`Pages::next`] would read another page.
    pub fn has_next(&self) -> bool {
        self.left != Some(0) && self.token.is_some()
    }

    /// The next page, which may be empty while others follow it; `None` after the last, or when the limit is reached.
    ///
    /// # Errors
    ///
    /// As of the read itself, and when the aggregator returns the same token again. The same page is asked for by the
    /// next call.
    pub async fn next(&mut self) -> Result<Option<L::Page>, Error> {
        let token = match &self.token {
            Some(token) if self.left != Some(0) => token.clone(),
            _ => return Ok(None),
        };
        let most = self.request.page_size_max();
        let size = self.left.map_or(most, |left| left.min(most));
        let mut request = self.request.clone();
        request.set_page(i32::try_from(size).unwrap_or(i32::MAX), token.clone());
        let page = request.read(&self.client).await?;
        let next = page.next_page_token();
        if !next.is_empty() && next == token {
            return Err(Error::Contract {
                address: self.client.address().clone(),
                reason: "next_page_token is the token of the page itself",
            });
        }
        self.token = (!next.is_empty()).then(|| next.to_owned());
        let count = u64::try_from(page.count()).unwrap_or(u64::MAX);
        self.left = self.left.map(|left| left.saturating_sub(count));
        Ok(Some(page))
    }

    /// All pages up to the limit, merged into one.
    ///
    /// # Errors
    ///
    /// As [`Pages::next`].
    pub async fn merged(mut self) -> Result<L::Page, Error>
    where
        L::Page: Default,
    {
        let mut merged: Option<L::Page> = None;
        while let Some(page) = self.next().await? {
            match &mut merged {
                None => merged = Some(page),
                Some(earlier) => earlier.merge(page),
            }
        }
        Ok(merged.unwrap_or_default())
    }
}

/// Lists that differ in names only. `$later` is the page that is merged in after the things and the token.
macro_rules! lists {
    ($($request:ident -> $response:ident . $things:ident by $method:ident
        $(, size $size:expr)? $(, merge |$earlier:ident, $later:ident| $merge:block)?;)*) => {
        $(
            impl List for v1::$request {
                type Page = v1::$response;

                $(fn page_size_max(&self) -> u64 {
                    let size: fn(&Self) -> u64 = $size;
                    size(self)
                })?

                fn set_page(&mut self, size: i32, token: String) {
                    self.page_size = size;
                    self.page_token = token;
                }

                async fn read(self, client: &Client) -> Result<Self::Page, Error> {
                    client.$method(self).await
                }
            }

            impl Page for v1::$response {
                fn count(&self) -> usize {
                    self.$things.len()
                }

                fn next_page_token(&self) -> &str {
                    &self.next_page_token
                }

                fn merge(&mut self, later: Self) {
                    $({
                        let ($earlier, $later) = (&mut *self, &later);
                        $merge
                    })?
                    self.$things.extend(later.$things);
                    self.next_page_token = later.next_page_token;
                }
            }
        )*
    };
}

lists! {
    ListAppsRequest -> ListAppsResponse.apps by list_apps;
    ListWorkersRequest -> ListWorkersResponse.workers by list_workers;
    ListTaskNamesRequest -> ListTaskNamesResponse.task_names by list_task_names;
    ListQueuesRequest -> ListQueuesResponse.queues by list_queues;
    ListGapsRequest -> ListGapsResponse.gaps by list_gaps;
    ListCommandsRequest -> ListCommandsResponse.records by list_commands;
    GetWorkflowRequest -> GetWorkflowResponse.tasks by get_workflow;
    ListTasksRequest -> ListTasksResponse.tasks by list_tasks,
        size |request| match request.view() {
            v1::TaskView::Full => FULL_TASKS_PAGE_SIZE_MAX,
            v1::TaskView::Basic | v1::TaskView::Unspecified => PAGE_SIZE_MAX,
        },
        merge |earlier, later| {
            if let Some(scan) = later.scan {
                let so_far = earlier.scan.map_or(0, |scan| scan.scanned);
                earlier.scan = Some(v1::ScanProgress {
                    scanned: so_far.saturating_add(scan.scanned),
                    total: scan.total,
                });
            }
        };
}
