//! The built-in scorer: learns from the labels at hand in seconds, needs no download, and embeds without labels too.

mod ensemble;
mod features;
mod projection;
mod stage;
#[cfg(test)]
pub(crate) mod tests;
mod train;

use self::ensemble::{Committee, Ensemble, MEMBER_DIMENSIONS, Vocabulary};
use self::features::FeatureHasher;
pub use self::projection::Projection;
use self::train::{Corpus, MemberTrainer};
use super::agreement::Agreement;
use super::answers::Answers;
use super::out_of_fold::{self, Draws};
use super::saved::{self, Header, Tensors};
use super::targets::Targets;
use super::task::Task;
use crate::budget::Reservation;
use crate::context::Context;
use crate::{Error, Result};

/// Settings of the built-in scorer.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltinSettings {
    /// What the labels are.
    pub task: Task,
    /// Seed of initial weights, shuffles and projections.
    pub seed: u64,
    /// Members of the ensemble.
    pub n_members: usize,
    /// Features of a text that are looked at: the first ones, about 18 for each word.
    pub max_features: usize,
    /// Whether members learn from bootstraps of the labels, and `tamis_bald`, `tamis_vote_entropy` and `tamis_min_margin` say what they
    /// disagree on.
    pub committee: bool,
    /// How much louder rare classes are in training: 0 not at all, 1 until all classes weigh the same. On TREC-6, with
    /// one rare class of six, 1000 labels give an accuracy of 0.80 at 0, 0.77 at 0.5 and 0.70 at 1.
    pub balance: f64,
}

impl Default for BuiltinSettings {
    fn default() -> Self {
        Self { task: Task::Classes, seed: 0, n_members: 5, max_features: 4096, committee: false, balance: 0.25 }
    }
}

/// A text with the label that someone gave it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelledText {
    /// The text.
    pub text: String,
    /// The label, as [`Task`] reads it.
    pub label: String,
}

/// What the labels allow.
#[derive(Debug)]
enum Model {
    /// No label, or one class only: nothing but an embedding.
    Untrained(Projection),
    /// Something to tell apart.
    Trained(Ensemble),
}

/// What was trained, and what is known of it.
struct Trained {
    ensemble: Ensemble,
    committee: Option<Committee>,
    temperature: f32,
    agreement: Option<Agreement>,
    left_out: Vec<(usize, Vec<f32>)>,
}

/// A fitted scorer; a [`MapStage`](crate::stage::MapStage) that appends labels, probabilities and embeddings.
///
/// | labels | `tamis_label` | `tamis_probabilities` | `tamis_margin`, `tamis_entropy` | `tamis_embedding` |
/// | --- | --- | --- | --- | --- |
/// | none | null | absent | null | 128 components of projected TF-IDF |
/// | of one class | that class | 1 | 1, 0 | 128 components of projected TF-IDF |
/// | of two or more | most probable | of the mean logits | of the probabilities | 32 components |
/// | lists | those from 0.5 on, `;` between them | one by one | of the least sure label, mean over labels | 32 components |
/// | numbers | absent, instead `tamis_quality` | absent | absent | 32 components |
///
/// With [`BuiltinScorer::embedding_by`] the embedding is that of the first line whatever the labels are.
#[derive(Debug)]
pub struct BuiltinScorer {
    model: Model,
    /// What embeds in place of the trained model.
    projection: Option<Projection>,
    answers: Answers,
    /// Whether columns of disagreement are appended.
    asks_committee: bool,
    committee: Option<Committee>,
    max_features: usize,
    n_labelled: usize,
    agreement: Option<Agreement>,
    /// Places of labelled texts as given, and probabilities of their classes.
    left_out: Vec<(usize, Vec<f32>)>,
    /// For the table of a trained model.
    _reservation: Reservation,
}

impl BuiltinScorer {
    /// Learns from `labelled`, or, if they tell nothing apart, the frequencies of features from `sample`.
    ///
    /// # Cost
    /// 5,000 questions or film reviews of a sentence take one to three seconds on two cores. Training asks the budget for
    /// up to 350 MB, for labelled texts that between them have every feature; most have a tenth of that.
    ///
    /// # Determinism
    /// A function of the arguments, whatever the number of threads and the order of `labelled` and `sample`.
    ///
    /// # Errors
    /// `Error::Config` for a label that the task cannot have, `Error::OverBudget`, `Error::Interrupted`.
    pub fn fit(
        labelled: &[LabelledText],
        sample: &[String],
        settings: &BuiltinSettings,
        context: &Context,
    ) -> Result<Self> {
        if settings.n_members == 0 {
            return Err(Error::config("a scorer needs at least one member"));
        }
        let order = sorted_places(labelled);
        let labelled: Vec<&LabelledText> = order.iter().map(|&place| &labelled[place]).collect();
        let labels = labelled.iter().map(|one| one.label.as_str());
        let targets = Targets::new(settings.task, labels, settings.balance)?;
        let mut hasher = FeatureHasher::new(settings.max_features);
        let mut reservation = context.budget.reserve("scorer");
        let (model, committee, answers, agreement, left_out) = if targets.tells_apart() {
            let texts: Vec<&str> = labelled.iter().map(|one| one.text.as_str()).collect();
            let trained = train(&texts, &targets, settings, &mut hasher, context, &mut reservation)?;
            let answers = Answers::new(&targets, trained.temperature);
            let left_out = answers.probabilities(trained.left_out).into_iter();
            let left_out = left_out.map(|(text, probabilities)| (order[text], probabilities)).collect();
            (Model::Trained(trained.ensemble), trained.committee, answers, trained.agreement, left_out)
        } else {
            let projection = Projection::fit(sample.iter().map(String::as_str), &mut hasher, settings.seed);
            (Model::Untrained(projection), None, Answers::untrained(targets), None, Vec::new())
        };
        let n_labelled = labelled.len();
        let max_features = settings.max_features;
        let asks_committee = settings.committee;
        Ok(Self {
            model,
            projection: None,
            answers,
            asks_committee,
            committee,
            max_features,
            n_labelled,
            agreement,
            left_out,
            _reservation: reservation,
        })
    }

    /// Embeds by `projection` also where there are labels: the same space in every round, in which rows are spread that the model, which
    /// knows few words yet, cannot tell apart. On TREC-6, 25 + 20 x 25 labels, herding in it is worth 2 points more than in what was learnt.
    #[must_use]
    pub fn embedding_by(self, projection: Projection) -> Self {
        Self { projection: Some(projection), ..self }
    }

    /// Names of the classes, sorted.
    pub fn classes(&self) -> &[String] {
        self.answers.names()
    }

    /// How well it agrees with the labels, by models that had not seen them; `None` for fewer than 50 labels.
    pub fn agreement(&self) -> Option<Agreement> {
        self.agreement
    }

    /// Index of labelled texts, in the order in which they were given, and probability of each class, by models that had not seen the text; taken
    /// once. None for fewer than 50 labels, for what is no class, and for a text that is alone with its class.
    pub(crate) fn take_left_out(&mut self) -> Vec<(usize, Vec<f32>)> {
        std::mem::take(&mut self.left_out)
    }

    /// Whether the labels told anything apart.
    pub fn has_learnt(&self) -> bool {
        self.answers.tell_apart()
    }

    /// The scorer as a file.
    ///
    /// # Errors
    /// `Error::Invariant`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = Tensors::default();
        let projection = match &self.model {
            Model::Trained(ensemble) => {
                ensemble.save(&mut tensors);
                self.projection.as_ref()
            }
            Model::Untrained(projection) => Some(projection),
        };
        let seed = projection.map(|projection| projection.save(&mut tensors));
        if let Some(committee) = &self.committee {
            committee.save(&mut tensors);
        }
        let committee = self.asks_committee.then(|| self.committee.as_ref().map_or(0, Committee::len));
        let model = saved::Model::Builtin { max_features: self.max_features, seed, committee };
        saved::to_bytes(model, &self.answers, self.n_labelled, self.agreement, &tensors)
    }

    /// The scorer that a file holds.
    ///
    /// # Errors
    /// `Error::Corrupt` if something is missing in it, `Error::OverBudget`.
    pub(super) fn of_saved(header: Header, tensors: &Tensors, context: &Context) -> Result<Self> {
        let saved::Model::Builtin { max_features, seed, committee: n_members } = header.model else {
            return Err(tensors.corrupt("it is another scorer"));
        };
        let mut reservation = context.budget.reserve("scorer");
        let projection = seed.map(|seed| Projection::of_saved(seed, tensors)).transpose()?;
        let (mut committee, tells_apart) = (None, header.answers.tell_apart());
        let (model, projection) = match projection {
            Some(projection) if !tells_apart => (Model::Untrained(projection), None),
            None if !tells_apart => return Err(tensors.corrupt("it has no model for what it answers")),
            projection => {
                let ensemble = Ensemble::of_saved(tensors, header.answers.n_outputs())?;
                reservation.grow(ensemble.memory_bytes())?;
                committee = n_members.map(|n| Committee::of_saved(n, &ensemble, tensors)).transpose()?;
                reservation.grow(committee.as_ref().map_or(0, Committee::memory_bytes))?;
                (Model::Trained(ensemble), projection)
            }
        };
        Ok(Self {
            model,
            projection,
            answers: header.answers,
            asks_committee: n_members.is_some(),
            committee,
            max_features,
            n_labelled: header.labelled_rows,
            agreement: header.agreement,
            left_out: Vec::new(),
            _reservation: reservation,
        })
    }

    /// Number of labelled texts it was fitted on.
    pub fn n_labelled(&self) -> usize {
        self.n_labelled
    }
}

/// Places of the texts in an order that the one in which they are given does not change.
pub(super) fn sorted_places(labelled: &[LabelledText]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..labelled.len()).collect();
    order.sort_unstable_by(|&a, &b| labelled[a].cmp(&labelled[b]));
    order
}

fn train(
    texts: &[&str],
    targets: &Targets,
    settings: &BuiltinSettings,
    hasher: &mut FeatureHasher,
    context: &Context,
    reservation: &mut Reservation,
) -> Result<Trained> {
    let mut vocabulary = Vocabulary::new();
    let mut corpus = Corpus::default();
    for text in texts {
        let mut rows: Vec<u32> = hasher.buckets(text).iter().map(|&bucket| vocabulary.add(bucket)).collect();
        rows.sort_unstable();
        corpus.push(&rows);
    }
    // The tables of all members, and the joined one; those of the folds are gone by then.
    let row_bytes = MEMBER_DIMENSIONS * settings.n_members * size_of::<f32>();
    let joined_bytes = vocabulary.len() * Ensemble::width(settings.n_members, targets.n_outputs()) * size_of::<f32>();
    reservation.grow(corpus.memory_bytes() + vocabulary.len() * row_bytes + joined_bytes)?;
    let trainer = MemberTrainer::new(&corpus, targets, &context.cancel);
    let draws = if settings.committee { Draws::Bootstrap } else { Draws::All };
    let fit = out_of_fold::fit(&trainer, targets, (settings.n_members, draws), settings.seed, context)?;
    let n_rows = vocabulary.len();
    let ensemble = Ensemble::new(vocabulary, &fit.members, targets.n_outputs());
    let committee = settings.committee.then(|| Committee::new(fit.members));
    reservation.free();
    reservation.grow(joined_bytes + if settings.committee { n_rows * row_bytes } else { 0 })?;
    let (temperature, agreement, left_out) = (fit.temperature, fit.agreement, fit.left_out);
    Ok(Trained { ensemble, committee, temperature, agreement, left_out })
}
