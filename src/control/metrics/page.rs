//! A page of metrics in Prometheus' text format, by the crate `prometheus`: family after family, so that no more than one of them
//! stands in memory beside the text.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
};

/// What kind of number a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Grows until the director ends.
    Counter,
    /// As it is now.
    Gauge,
    /// Percentiles, sum and count.
    Summary,
    /// How many are in which class, sum and count.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Histogram => "histogram",
        }
    }

    fn field(self) -> MetricType {
        match self {
            Self::Counter => MetricType::COUNTER,
            Self::Gauge => MetricType::GAUGE,
            Self::Summary => MetricType::SUMMARY,
            Self::Histogram => MetricType::HISTOGRAM,
        }
    }
}

/// What is the same of all metrics of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// Without the suffixes of summaries and histograms.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of its labels, but `quantile` and `le`.
    pub labels: &'static [&'static str],
    /// What it tells, in one line.
    pub help: &'static str,
}

/// The value of a metric.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a summary: share and value of each percentile.
    Percentiles {
        /// Share of all, and what is not exceeded in it.
        quantiles: Vec<(f64, f64)>,
        /// Of all.
        sum: f64,
        /// How many.
        count: u64,
    },
    /// Of a histogram: upper bound and count of each class.
    Classes {
        /// Upper bound, and how many are in this class and no lower one.
        classes: Vec<(f64, u64)>,
        /// Of all.
        sum: f64,
    },
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus' numbers are of this type")]
impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Number(count as f64)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Number(count.into())
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Number(f64::from(u8::from(is)))
    }
}

impl Value {
    fn metric(self, kind: Kind, labels: Vec<LabelPair>) -> Metric {
        let mut metric = Metric::from_label(labels);
        match self {
            Self::Number(number) if kind == Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(number);
                metric.set_counter(counter);
            }
            Self::Number(number) => {
                let mut gauge = Gauge::default();
                gauge.set_value(number);
                metric.set_gauge(gauge);
            }
            Self::Percentiles { quantiles, sum, count } => metric.set_summary(summary(&quantiles, sum, count)),
            Self::Classes { classes, sum } => metric.set_histogram(histogram(&classes, sum)),
        }
        metric
    }
}

fn summary(quantiles: &[(f64, f64)], sum: f64, count: u64) -> Summary {
    let quantile = |(share, value): &(f64, f64)| {
        let mut quantile = Quantile::default();
        quantile.set_quantile(*share);
        quantile.set_value(*value);
        quantile
    };
    let mut summary = Summary::default();
    summary.set_sample_count(count);
    summary.set_sample_sum(sum);
    summary.set_quantile(quantiles.iter().map(quantile).collect());
    summary
}

fn histogram(classes: &[(f64, u64)], sum: f64) -> Histogram {
    let mut so_far = 0;
    let bucket = |(bound, count): &(f64, u64)| {
        so_far += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(so_far);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(classes.iter().map(bucket).collect());
    histogram.set_sample_count(so_far);
    histogram.set_sample_sum(sum);
    histogram
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Writes a family: values of its labels, in their order, and a value each. One without a metric is left out.
    pub fn family<const N: usize>(&mut self, family: &Family, metrics: impl Iterator<Item = ([String; N], Value)>) {
        assert_eq!(family.labels.len(), N, "{} has labels {:?}", family.name, family.labels);
        let pair = |(name, value): (&&str, String)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        };
        let metrics: Vec<_> = metrics
            .map(|(labels, value)| value.metric(family.kind, family.labels.iter().zip(labels).map(pair).collect()))
            .collect();
        if metrics.is_empty() {
            return;
        }
        let mut written = MetricFamily::default();
        written.set_name(family.name.to_owned());
        written.set_help(family.help.to_owned());
        written.set_field_type(family.kind.field());
        written.set_metric(metrics);
        TextEncoder::new()
            .encode_utf8(&[written], &mut self.text)
            .expect("a family with a name and metrics is written");
    }

    /// Writes the only metric of a family without labels.
    pub fn one(&mut self, family: &Family, value: impl Into<Value>) {
        self.family(family, std::iter::once(([], value.into())));
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_written_as_prometheus_reads_it() {
        let mut page = Page::default();
        let family = |name, kind, labels| Family { name, kind, labels, help: "Help." };
        page.one(&family("a", Kind::Gauge, &[]), true);
        let counted = [(["x".to_owned(), "q\"\\".to_owned()], Value::from(7_u64))];
        page.family(&family("b_total", Kind::Counter, &["p", "q"]), counted.into_iter());
        let quantiles = vec![(0.5, 0.25)];
        page.one(&family("c", Kind::Summary, &[]), Value::Percentiles { quantiles, sum: 1.5, count: 3 });
        let classes = vec![(1.0, 2), (3.0, 5)];
        page.one(&family("d", Kind::Histogram, &[]), Value::Classes { classes, sum: 9.0 });
        page.family(&family("e", Kind::Gauge, &[]), std::iter::empty::<([String; 0], Value)>());
        let want = "\
# HELP a Help.
# TYPE a gauge
a 1
# HELP b_total Help.
# TYPE b_total counter
b_total{p=\"x\",q=\"q\\\"\\\\\"} 7
# HELP c Help.
# TYPE c summary
c{quantile=\"0.5\"} 0.25
c_sum 1.5
c_count 3
# HELP d Help.
# TYPE d histogram
d_bucket{le=\"1\"} 2
d_bucket{le=\"3\"} 7
d_bucket{le=\"+Inf\"} 7
d_sum 9
d_count 7
";
        assert_eq!(page.into_text(), want);
    }
}
