//! One binding over several drivers: models that lie on this machine, and models that services run.

use std::collections::BTreeMap;
use std::sync::Arc;

use aerostack_bindings::{BindingInfo, Lazy, Result};
use async_trait::async_trait;

use crate::{AiDriver, Embeddings, EmbeddingsRequest, Generation, GenerationStream, ModelInfo, Task, TextGeneration};

/// Asks the driver that a model's name belongs to, and for any other name the one of the models on this machine.
pub struct Router {
    info: BindingInfo,
    local: Arc<Lazy<dyn AiDriver>>,
    services: BTreeMap<String, Arc<dyn AiDriver>>,
}

impl Router {
    /// A router that shows itself as `info`. `services` answer for the models under their names, `local` for all others. Opens
    /// nothing.
    pub fn new(
        info: BindingInfo,
        local: Arc<Lazy<dyn AiDriver>>,
        services: BTreeMap<String, Arc<dyn AiDriver>>,
    ) -> Self {
        Self { info, local, services }
    }

    fn driver(&self, model: &str) -> Result<&Arc<dyn AiDriver>> {
        match self.services.get(model) {
            Some(service) => Ok(service),
            None => self.local.get(),
        }
    }
}

#[async_trait]
impl AiDriver for Router {
    fn info(&self) -> BindingInfo {
        self.info.clone()
    }

    fn models(&self) -> Vec<ModelInfo> {
        let local = match self.local.get() {
            Ok(local) => local.models(),
            Err(error) => {
                tracing::warn!(%error, "the models of this machine cannot be listed");
                Vec::new()
            }
        };
        let mut models: BTreeMap<String, ModelInfo> =
            local.into_iter().map(|model| (model.name.clone(), model)).collect();
        for (name, service) in &self.services {
            models.extend(service.models().into_iter().filter(|model| model.name == *name).map(|m| (name.clone(), m)));
        }
        models.into_values().collect()
    }

    fn task(&self, model: &str) -> Result<Task> {
        self.driver(model)?.task(model)
    }

    async fn stream(&self, model: &str, request: TextGeneration) -> Result<GenerationStream> {
        self.driver(model)?.stream(model, request).await
    }

    async fn generate(&self, model: &str, request: TextGeneration) -> Result<Generation> {
        self.driver(model)?.generate(model, request).await
    }

    async fn embed(&self, model: &str, request: EmbeddingsRequest) -> Result<Embeddings> {
        self.driver(model)?.embed(model, request).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aerostack_bindings::{BindingState, Error, ErrorKind};

    use super::*;
    use crate::{InferenceCode, KIND, ModelState};

    /// Knows some names, and says who it is where it is asked.
    struct Fixed {
        place: &'static str,
        names: Vec<&'static str>,
    }

    #[async_trait]
    impl AiDriver for Fixed {
        fn info(&self) -> BindingInfo {
            info()
        }

        fn models(&self) -> Vec<ModelInfo> {
            let model = |name: &&str| ModelInfo {
                name: (*name).to_owned(),
                task: Task::TextEmbeddings,
                location: self.place.to_owned(),
                state: ModelState::Present,
            };
            self.names.iter().map(model).collect()
        }

        fn task(&self, model: &str) -> Result<Task> {
            if self.names.contains(&model) {
                Ok(Task::TextEmbeddings)
            } else {
                Err(InferenceCode::no_such_model(model))
            }
        }

        async fn stream(&self, _model: &str, _request: TextGeneration) -> Result<GenerationStream> {
            Err(Error::new(ErrorKind::Unexpected, self.place))
        }

        async fn embed(&self, _model: &str, _request: EmbeddingsRequest) -> Result<Embeddings> {
            Err(Error::new(ErrorKind::Unexpected, self.place))
        }
    }

    fn info() -> BindingInfo {
        BindingInfo {
            name: "AI".into(),
            kind: KIND,
            driver: "candle",
            summary: String::new(),
            state: BindingState::Lazy,
        }
    }

    fn router(opened: &Arc<AtomicUsize>) -> Router {
        let opened = opened.clone();
        let local = Lazy::<dyn AiDriver>::new(move || {
            opened.fetch_add(1, Ordering::SeqCst);
            Ok(Arc::new(Fixed { place: "here", names: vec!["a", "b"] }))
        });
        let service: Arc<dyn AiDriver> = Arc::new(Fixed { place: "there", names: vec!["b", "c", "d"] });
        let services = ["b", "c"].map(|name| (name.to_owned(), service.clone()));
        Router::new(info(), local, services.into())
    }

    #[tokio::test]
    async fn a_name_goes_to_its_driver_and_the_local_one_is_opened_once_when_it_is_needed() {
        let opened = Arc::new(AtomicUsize::new(0));
        let router = router(&opened);
        let asked = async |model: &str| {
            let request = EmbeddingsRequest { texts: vec!["t".to_owned()], pooling: None };
            router.embed(model, request).await.err().map(|error| error.to_string())
        };
        assert_eq!(router.info(), info());
        assert_eq!(asked("b").await.as_deref(), Some("there"));
        assert_eq!(asked("c").await.as_deref(), Some("there"));
        assert_eq!(opened.load(Ordering::SeqCst), 0);
        assert_eq!(asked("a").await.as_deref(), Some("here"));
        assert_eq!(asked("d").await.as_deref(), Some("here"));
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        assert_eq!(
            router.task("d").err().map(|error| error.to_string()).as_deref(),
            Some("5007: No such model d or task")
        );
    }

    #[test]
    fn models_are_listed_once_each_in_the_order_of_their_names() {
        let router = router(&Arc::default());
        let listed: Vec<_> = router.models().into_iter().map(|model| (model.name, model.location)).collect();
        let expected = [("a", "here"), ("b", "there"), ("c", "there")];
        assert_eq!(listed, expected.map(|(name, place)| (name.to_owned(), place.to_owned())));
    }
}
