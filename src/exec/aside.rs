//! Function calls that may take minutes for one value and cannot be interrupted, such as a regular expression over a
//! long text. They run on threads where they block no one, even when constant-folded while a query is planned. A
//! cancelled statement is answered at once, but its call runs to its end; their number at a time is limited.

use std::{
    cell::Cell,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan, Operator},
    physical_expr::{ScalarFunctionExpr, expressions::BinaryExpr},
    prelude::SessionConfig,
};
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

use super::{Plan, offload::in_place};

/// Functions whose time is superlinear in the length of their arguments: a single value may take minutes.
const SLOW: &[&str] = &[
    "!~",
    "!~*",
    "!~~",
    "!~~*",
    "btrim",
    "ltrim",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_substr",
    "rtrim",
    "strpos",
    "substring",
    "translate",
    "~",
    "~*",
    "~~",
    "~~*",
];

/// The limit of concurrent slow calls, as an extension of a session's configuration.
#[derive(Debug)]
pub struct AsideLimit(Arc<Semaphore>);

impl AsideLimit {
    pub fn new(calls: usize) -> Arc<AsideLimit> {
        Arc::new(AsideLimit(Arc::new(Semaphore::new(calls.clamp(1, Semaphore::MAX_PERMITS)))))
    }
}

thread_local! {
    /// Whether this thread already runs a slow call: nested calls need no other thread.
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

struct AsideGuard;

impl AsideGuard {
    fn enter() -> AsideGuard {
        IS_ASIDE.set(true);
        AsideGuard
    }
}

impl Drop for AsideGuard {
    fn drop(&mut self) {
        IS_ASIDE.set(false);
    }
}

/// Polls a future where it may block, once the limit allows one more.
#[derive(Debug)]
pub struct Aside(Option<PollSemaphore>);

impl Aside {
    pub fn of(config: &SessionConfig) -> Aside {
        Aside(config.get_extension::<AsideLimit>().map(|limit| PollSemaphore::new(limit.0.clone())))
    }

    pub fn poll<T>(&mut self, context: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if IS_ASIDE.get() {
            return poll(context);
        }
        let _permit = match &mut self.0 {
            Some(limit) => ready!(limit.poll_acquire(context)),
            None => None,
        };
        in_place(|| {
            let _within = AsideGuard::enter();
            poll(context)
        })
    }
}

/// Whether a plan calls one of the slow functions, or matches a regular expression.
pub(super) fn is_slow(plan: &Plan) -> DfResult<bool> {
    let mut slow = false;
    plan.apply_expressions(&mut |expr| {
        expr.apply(|expr| {
            let function = expr.downcast_ref::<ScalarFunctionExpr>().map(|call| SLOW.contains(&call.fun().name()));
            let operator = expr.downcast_ref::<BinaryExpr>().map(|expr| is_regex(*expr.op()));
            slow |= function.or(operator).unwrap_or(false);
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(slow)
}

fn is_regex(operator: Operator) -> bool {
    use Operator::{RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
    matches!(operator, RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch)
}

/// Runs the planning of a query where it may block: constant expressions are evaluated during planning.
pub async fn planned<T>(mut aside: Aside, plan: &LogicalPlan, planning: impl Future<Output = T>) -> T {
    let mut planning = pin!(planning);
    let slow = calls_slow(plan);
    std::future::poll_fn(|context| match slow {
        true => aside.poll(context, |context| planning.as_mut().poll(context)),
        false => planning.as_mut().poll(context),
    })
    .await
}

fn calls_slow(plan: &LogicalPlan) -> bool {
    let is_slow = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => SLOW.contains(&call.name()),
        Expr::BinaryExpr(expr) => is_regex(expr.op),
        _ => false,
    };
    let mut slow = false;
    let walked = plan.apply_with_subqueries(|plan| {
        for expr in plan.expressions() {
            slow |= expr.exists(|expr| Ok(is_slow(expr)))?;
        }
        Ok(if slow { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    slow || walked.is_err()
}
