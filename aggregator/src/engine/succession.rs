//! Which inspector of an app is folded, and what is missed between one and the next.

use tokio::sync::oneshot;

use super::Engine;
use super::board::{AppBoard, InspectorFacts};
use super::handle::Attachment;
use super::session::{self, Hello};
use crate::api::time::now;
use crate::state::Symbol;
use crate::state::gap::{Gap, GapCause};
use crate::state::input::{Input, Report};

impl Engine {
    /// Registers an inspector; it is folded unless another one of its app is.
    pub(super) fn attach(&mut self, hello: &Hello, reply: oneshot::Sender<Attachment>) {
        self.release_sessions();
        let app = Symbol::from(hello.app.as_str());
        let attached = self.sessions.attach(hello.clone());
        tracing::info!(app = %app, instance = hello.instance, active = attached.active, "inspector attached");
        if attached.active {
            self.take_over(hello, attached.fresh);
        }
        // A caller that is gone drops the receiver; the next sweep finds that.
        let _gone = reply.send(Attachment {
            state: attached.state,
            orders: attached.orders,
            session: attached.id,
        });
    }

    /// Begins to fold an inspector. If it is another than the one before, what happened in between was missed.
    fn take_over(&mut self, hello: &Hello, fresh: bool) {
        let app = Symbol::from(hello.app.as_str());
        let now = now();
        let limits = self.limits;
        let acknowledged = self.sessions.progress(&hello.app, &hello.instance).durable;
        {
            let mut board = self.board.write();
            let entry = board.apps.entry(app.clone());
            let entry = entry.or_insert_with(|| AppBoard::new(app.clone(), limits));
            entry.inspector = Some(InspectorFacts {
                instance: hello.instance.clone(),
                epoch: hello.epoch,
                version: hello.version.clone(),
                attached: true,
                since: now,
                acknowledged,
            });
        }
        if fresh {
            let gap = self.last_seen.get(&app).map(|seen| Gap {
                cause: GapCause::Detached,
                start: session::gap_start(Some(*seen), now),
                // Until it is subscribed.
                end: None,
                worker: None,
                missed_starts: None,
                dropped_messages: None,
                detail: "no inspector was attached, and the broker may have kept no events".into(),
            });
            let report = Report {
                time: now,
                subscribed: false,
                broker: hello.broker.clone(),
                messages: 0,
                events: 0,
                rejections: Vec::new(),
                control_subscribers: None,
                silent_nodes: Vec::new(),
                kept: false,
            };
            let inputs = [Input::TakeOver { time: now }]
                .into_iter()
                .chain(gap.map(Input::Gap))
                .chain([Input::Report(Box::new(report))]);
            self.fold(&app, now, inputs.collect());
        }
        self.pending.entry(app).or_default().app = true;
    }

    /// Marks apps whose inspector is gone, and lets waiting ones take over.
    pub(super) fn release_sessions(&mut self) {
        let (lost, taken) = self.sessions.sweep();
        for app in lost {
            let app = Symbol::from(app.as_str());
            tracing::warn!(app = %app, "the inspector is gone");
            let now = now();
            let report = {
                let mut board = self.board.write();
                let Some(entry) = board.apps.get_mut(&app) else {
                    continue;
                };
                if let Some(inspector) = &mut entry.inspector {
                    inspector.attached = false;
                    inspector.since = now;
                }
                entry.state.report().cloned()
            };
            // Nobody listens: silence of workers says nothing from now on.
            let unsubscribed = report.map(|report| Report {
                subscribed: false,
                time: now,
                ..report
            });
            self.fold(
                &app,
                now,
                unsubscribed
                    .map(|r| Input::Report(Box::new(r)))
                    .into_iter()
                    .collect(),
            );
            self.pending.entry(app).or_default().app = true;
        }
        for hello in taken {
            tracing::info!(
                app = hello.app,
                instance = hello.instance,
                "a standby inspector takes over"
            );
            self.take_over(&hello, true);
        }
    }
}
