//! The physical optimizer rules: DataFusion's, and this crate's among them.

use std::sync::Arc;

use datafusion::physical_optimizer::{
    ensure_coop::EnsureCooperative, ensure_requirements::EnsureRequirements, optimizer::PhysicalOptimizer,
    output_requirements::OutputRequirements, sanity_checker::SanityCheckPlan,
};

use super::{
    distrust::{check_windows, distrust},
    node_rule::Rule,
    window_memory::count_windows,
    yielding::insert_yields,
};

/// The rules for a query. Without filter pushdown: it identifies columns by name, which is ambiguous after a join, and
/// compares arrays that contain NULLs differently; and the logical plan has pushed down what a scan here supports.
pub fn query_rules() -> Vec<Rule> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    with_ours(rules, distrust(false))
}

/// The minimum of rules without which the plan of a query cannot run.
pub fn fewest_query_rules() -> Vec<Rule> {
    let rules: Vec<Rule> = vec![
        Arc::new(OutputRequirements::new_add_mode()),
        Arc::new(EnsureRequirements::new()),
        Arc::new(OutputRequirements::new_remove_mode()),
        Arc::new(EnsureCooperative::new()),
        Arc::new(SanityCheckPlan::new()),
    ];
    with_ours(rules, distrust(true))
}

/// The rules that are right for one epoch's rows. The others use statistics, which an epoch's input does not have, or
/// assume that they see all rows.
pub fn epoch_rules() -> Vec<Rule> {
    vec![distrust(false), Arc::new(EnsureRequirements::new()), Arc::new(SanityCheckPlan::new()), check_windows()]
}

/// Inserts this crate's rules among `rules`.
fn with_ours(mut rules: Vec<Rule>, distrust: Rule) -> Vec<Rule> {
    let at = rules.iter().position(|rule| rule.name() == "EnsureCooperative").unwrap_or(rules.len());
    rules.insert(at, insert_yields());
    // Before all rules that rely on an ordering.
    rules.insert(0, distrust);
    // After all rules that change the shape of a plan.
    rules.extend([check_windows(), count_windows()]);
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_rules_have_ours_in_their_places() {
        for rules in [query_rules(), fewest_query_rules()] {
            let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
            assert_eq!(names[0], "distrust");
            let cooperative = names.iter().position(|name| *name == "EnsureCooperative").unwrap();
            assert_eq!(names[cooperative - 1], "insert_yields");
            assert!(names.ends_with(&["check_windows", "count_windows"]), "{names:?}");
            assert!(!names.iter().any(|name| name.starts_with("FilterPushdown")), "{names:?}");
        }
    }
}
