//! What must be, whatever the service is made with.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::process::{Answer, Service};
use crate::stage::Stage;

/// Forty requests on two processes pay one invoice: it is charged once, and all others are told that it is paid.
///
/// # Panics
///
/// When that is not so.
pub async fn an_invoice_is_paid_once(stage: &Stage) {
    let services = [stage.start().await, stage.start().await];
    let requests = (0..40).map(|n| persist(&services[n % 2], "/invoices/1/pay"));
    let answers = join_all(requests).await;

    let (paid, told): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(paid.len(), 1, "{paid:?}");
    assert_eq!(paid[0].body, json!({ "invoice": 1, "cents": 1200 }));
    for answer in told {
        assert!(answer.is_problem(409), "{answer:?}");
        assert_eq!(answer.body["detail"], "Invoice 1 is paid already.");
    }
    let charge = json!({ "cents": 1200, "idempotency_key": "invoice/1" });
    assert_eq!(stage.partner.calls("/charges"), [charge]);
    end(services).await;
}

/// While an export runs on one process, both answer that there is one; afterwards the next can run.
///
/// # Panics
///
/// When that is not so.
pub async fn one_export_at_a_time(stage: &Stage) {
    let services = [stage.start().await, stage.start().await];
    let [one, other] = &services;
    reminded(&services).await;
    stage.partner.hold();
    let meanwhile = async {
        let call = stage.partner.next_call().await;
        for service in &services {
            let answer = service.post("/export", Value::Null).await;
            assert!(answer.is_busy(), "{answer:?}");
        }
        stage.partner.go_on();
        call.answer();
    };
    let (first, ()) = tokio::join!(one.post("/export", Value::Null), meanwhile);
    assert_eq!((first.status, first.body), (200, json!({ "invoices": 3 })));

    let next = other.post("/export", Value::Null).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert_eq!(stage.partner.calls("/books").len(), 2);
    end(services).await;
}

/// Three processes start when the nightly job is due: one does it, and the others find that it is done. So does a fourth that comes later.
///
/// # Panics
///
/// When that is not so.
pub async fn reminders_are_sent_once_a_night(stage: &Stage) {
    stage.partner.hold();
    let (one, two, three) = tokio::join!(stage.start(), stage.start(), stage.start());
    let services = [one, two, three];
    let call = stage.partner.next_call().await;
    // By the time of an answer each has begun with the job, too.
    for service in &services {
        assert_eq!(service.get("/invoices").await.status, 200);
    }
    stage.partner.go_on();
    call.answer();
    reminded(&services).await;
    let late = stage.start().await;
    reminded([&late]).await;

    // Two, should it have become midnight meanwhile.
    let sent = stage.partner.calls("/reminders");
    let nights: BTreeSet<String> = sent.iter().map(|sent| sent["night"].to_string()).collect();
    assert_eq!(nights.len(), sent.len(), "{sent:?}");
    for sent in sent {
        assert_eq!(sent["invoices"], json!([1, 2, 3]));
    }
    end(services).await;
    end([late]).await;
}

/// Many transfers in both directions, on two processes: none is lost, none overdraws, none waits for another that waits for it.
///
/// # Panics
///
/// When that is not so.
pub async fn transfers_keep_the_money_together(stage: &Stage) {
    let services = [stage.start().await, stage.start().await];
    let transfers = (0..60).map(|n| {
        let (from, to) = if n % 3 == 0 { (2, 1) } else { (1, 2) };
        let transfer = json!({ "from": from, "to": to, "cents": 9_000 });
        services[n / 3 % 2].post("/transfers", transfer)
    });
    let answers = join_all(transfers).await;

    let mut cents = [100_000, 100_000];
    for (n, answer) in answers.iter().enumerate() {
        let (from, to) = if n % 3 == 0 { (1, 0) } else { (0, 1) };
        match answer.status {
            204 => {
                cents[from] -= 9_000;
                cents[to] += 9_000;
            }
            409 => {
                let detail = format!("Account {} has not enough money.", from + 1);
                assert_eq!(answer.body["detail"], detail, "{answer:?}");
            }
            _ => panic!("{answer:?}"),
        }
    }
    let accounts = services[0].get("/accounts").await.body;
    let found = [&accounts[0]["cents"], &accounts[1]["cents"]];
    assert_eq!(found, [&json!(cents[0]), &json!(cents[1])]);
    assert!(cents.iter().all(|cents| *cents >= 0), "{cents:?}");
    end(services).await;
}

/// A process is asked to end while a request holds a lock: the request is answered, the process succeeds, and the lock is free.
///
/// # Panics
///
/// When that is not so.
pub async fn a_request_is_finished_before_the_service_ends(stage: &Stage) {
    let [mut ending, staying] = [stage.start().await, stage.start().await];
    reminded([&ending, &staying]).await;
    stage.partner.hold();
    let meanwhile = async {
        let call = stage.partner.next_call().await;
        ending.signal("TERM").await;
        ending.stops_listening().await;
        let answer = staying.post("/export", Value::Null).await;
        assert!(answer.is_busy(), "{answer:?}");
        stage.partner.go_on();
        call.answer();
    };
    let (finished, ()) = tokio::join!(ending.post("/export", Value::Null), meanwhile);
    assert_eq!(finished.status, 200, "{finished:?}");
    let status = ending.ended().await;
    assert!(status.success(), "{status}: {}", ending.log());

    let next = staying.post("/export", Value::Null).await;
    assert_eq!(next.status, 200, "{next:?}");
    end([staying]).await;
}

/// A process is killed while it holds a lock: another one gets the lock.
///
/// # Panics
///
/// When that is not so.
pub async fn a_killed_process_leaves_its_lock_to_others(stage: &Stage) {
    let [killed, staying] = [stage.start().await, stage.start().await];
    reminded([&killed, &staying]).await;
    stage.partner.hold();
    let meanwhile = async {
        let unanswered = stage.partner.next_call().await;
        let answer = staying.post("/export", Value::Null).await;
        assert!(answer.is_busy(), "{answer:?}");
        stage.partner.go_on();
        killed.signal("KILL").await;
        unanswered
    };
    let (answer, _unanswered) = tokio::join!(killed.try_post("/export"), meanwhile);
    assert!(answer.is_err(), "{answer:?}");

    let next = persist(&staying, "/export").await;
    assert_eq!(next.status, 200, "{next:?}");
    end([staying]).await;
}

/// A client hangs up while its request holds the lock: where that drops the request, another one gets the lock, although the partner has not answered.
///
/// # Panics
///
/// When that is not so.
pub async fn a_client_that_hangs_up_leaves_its_lock_to_others(stage: &Stage) {
    let services = [stage.start().await, stage.start().await];
    let [one, other] = &services;
    reminded(&services).await;
    stage.partner.hold();
    let _unanswered = tokio::select! {
        answer = one.post("/export", Value::Null) => panic!("{answer:?}"),
        call = stage.partner.next_call() => call,
    };
    stage.partner.go_on();
    // Half as long as the service waits for its partner.
    let next = timeout(Duration::from_secs(30), persist(other, "/export")).await;
    let next = next.expect("the lock is free long before the partner is given up");
    assert_eq!(next.status, 200, "{next:?}");
    end(services).await;
}

/// Asks again while somebody else has the lock, as the answer says.
async fn persist(service: &Service, path: &str) -> Answer {
    loop {
        let answer = service.post(path, Value::Null).await;
        if !answer.is_busy() {
            return answer;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until none of them has anything to do with the nightly job any more.
async fn reminded<'a>(services: impl IntoIterator<Item = &'a Service>) {
    for service in services {
        service.says("reminders are sent").await;
    }
}

async fn end(services: impl IntoIterator<Item = Service>) {
    for mut service in services {
        service.signal("TERM").await;
        let status = service.ended().await;
        assert!(status.success(), "{status}: {}", service.log());
    }
}
