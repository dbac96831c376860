//! The tree of a regular expression, as far as its parts matter beyond what the whole matches: what is captured or
//! referred to, and where parts differ in whether they take much or little.

use std::rc::Rc;

use super::language::Language;

/// What is known of a part and of what lies below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeFlags(u8);

impl NodeFlags {
    /// Of the matches from a place on, it prefers the longest.
    pub const LONGEST: NodeFlags = NodeFlags(1);
    pub const SHORTEST: NodeFlags = NodeFlags(2);
    /// Parts below prefer different things.
    pub const MIXED: NodeFlags = NodeFlags(4);
    pub const CAPTURES: NodeFlags = NodeFlags(8);
    pub const REFERS_BACK: NodeFlags = NodeFlags(16);

    pub fn or(self, other: NodeFlags) -> NodeFlags {
        NodeFlags(self.0 | other.0)
    }

    pub fn has(self, flag: NodeFlags) -> bool {
        self.0 & flag.0 != 0
    }

    pub fn preference(self) -> NodeFlags {
        NodeFlags(self.0 & (NodeFlags::LONGEST.0 | NodeFlags::SHORTEST.0))
    }

    pub fn has_preference(self) -> bool {
        self.preference() != NodeFlags::default()
    }

    /// What a part hands on to the one above it.
    pub fn inherited(self) -> NodeFlags {
        let lasting = NodeFlags::MIXED.or(NodeFlags::CAPTURES).or(NodeFlags::REFERS_BACK);
        let is_mixed = self.has(NodeFlags::LONGEST) && self.has(NodeFlags::SHORTEST);
        let mixed = if is_mixed { NodeFlags::MIXED } else { NodeFlags::default() };
        NodeFlags(self.0 & lasting.0).or(mixed)
    }

    /// Whether the part cannot be one automaton.
    pub fn is_composite(self) -> bool {
        self.has(NodeFlags::MIXED) || self.has(NodeFlags::CAPTURES) || self.has(NodeFlags::REFERS_BACK)
    }

    /// Of a part made of two: it prefers what the first does, or else the second.
    pub fn combine(self, second: NodeFlags) -> NodeFlags {
        let preference = if self.has_preference() { self.preference() } else { second.preference() };
        self.or(second).inherited().or(preference)
    }
}

#[derive(Debug)]
pub enum RegexNodeKind {
    /// All there is to know is what it matches.
    Terminal,
    /// What a group captured, so many times.
    BackReference {
        group: u32,
        min: u32,
        max: Option<u32>,
    },
    /// One part after the other.
    Sequence(Box<RegexNode>, Box<RegexNode>),
    Alternatives(Vec<RegexNode>),
    Repeat {
        of: Box<RegexNode>,
        min: u32,
        max: Option<u32>,
    },
    /// A group that is all of another group: `((x))`.
    Group(Box<RegexNode>),
}

/// A row of parts needs a level each only if one refers back.
fn depth_of(kind: &RegexNodeKind, flags: NodeFlags) -> u32 {
    match kind {
        RegexNodeKind::Terminal | RegexNodeKind::BackReference { .. } => 1,
        RegexNodeKind::Sequence(first, second) => {
            let level = if flags.has(NodeFlags::REFERS_BACK) { 8 } else { 1 };
            level + first.depth.max(second.depth)
        }
        RegexNodeKind::Alternatives(parts) => 4 + parts.iter().map(|part| part.depth).max().unwrap_or_default(),
        RegexNodeKind::Repeat { of, .. } => 6 + of.depth,
        RegexNodeKind::Group(inside) => 2 + inside.depth,
    }
}

/// A part of a regular expression.
#[derive(Debug)]
pub struct RegexNode {
    pub kind: RegexNodeKind,
    pub flags: NodeFlags,
    pub language: Rc<Language>,
    /// How deep the tree is from here down, in what taking a match apart needs of the stack.
    pub depth: u32,
    /// The number of the group that captures it.
    pub group: Option<u32>,
    /// The automaton of its language.
    pub automaton: usize,
    /// The first and the last group in it.
    pub groups: Option<(u32, u32)>,
}

impl RegexNode {
    pub fn new(kind: RegexNodeKind, flags: NodeFlags, language: Rc<Language>) -> Self {
        let depth = depth_of(&kind, flags);
        RegexNode { kind, flags, language, depth, group: None, automaton: 0, groups: None }
    }

    pub fn terminal(flags: NodeFlags, language: Rc<Language>) -> Self {
        RegexNode::new(RegexNodeKind::Terminal, flags, language)
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self.kind, RegexNodeKind::Terminal)
    }

    pub fn prefers_shortest(&self) -> bool {
        self.flags.has(NodeFlags::SHORTEST)
    }

    /// The parts that it is made of.
    fn parts(&mut self) -> Vec<&mut RegexNode> {
        match &mut self.kind {
            RegexNodeKind::Terminal | RegexNodeKind::BackReference { .. } => Vec::new(),
            RegexNodeKind::Sequence(first, second) => vec![first, second],
            RegexNodeKind::Alternatives(parts) => parts.iter_mut().collect(),
            RegexNodeKind::Repeat { of, .. } | RegexNodeKind::Group(of) => vec![of],
        }
    }

    /// Gives each node its automaton, from a number on, and notes which groups are in it.
    pub fn number(&mut self, first: usize, languages: &mut Vec<Rc<Language>>) {
        self.automaton = first + languages.len();
        languages.push(Rc::clone(&self.language));
        let mut groups = self.group.map(|group| (group, group));
        for part in self.parts() {
            part.number(first, languages);
            groups = match (groups, part.groups) {
                (Some((lowest, highest)), Some((low, high))) => Some((lowest.min(low), highest.max(high))),
                (groups, None) | (None, groups) => groups,
            };
        }
        self.groups = groups;
    }
}
