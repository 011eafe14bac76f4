//! Control commands against real workers: prefork (also autoscaled), threads, gevent and solo. The effect is what Celery
//! itself says of the worker, or what becomes of its tasks and processes; the reply alone counts only where there is no
//! effect.

mod pools;
mod queues;
mod scene;

use scene::{ALL, AUTO, FORK, Scene, THREADS};

#[tokio::test(flavor = "multi_thread")]
async fn celery_5_7_does_what_it_is_told() {
    let _turn = celeriac_tests::turn().await;
    let scene = Scene::set("5.7").await;
    queues::check(&scene, &ALL).await;
    pools::check(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_5_4_does_what_it_is_told() {
    let _turn = celeriac_tests::turn().await;
    let scene = Scene::set("5.4").await;
    queues::check(&scene, &[FORK, AUTO, THREADS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_4_4_does_what_it_is_told() {
    let _turn = celeriac_tests::turn().await;
    let scene = Scene::set("4.4").await;
    queues::check(&scene, &[FORK, AUTO, THREADS]).await;
}
