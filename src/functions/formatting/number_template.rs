//! A template for numbers after parsing.

use super::date_template::take_literal;
use super::number_layout::NumberLayout;
use super::number_words::{NumberWord, first_word};
use crate::error::Result;

/// A part of a template.
#[derive(Debug, Clone, Copy)]
pub enum NumberNode {
    Word(NumberWord),
    Text(char),
}

#[derive(Debug)]
pub struct NumberTemplate {
    pub nodes: Vec<NumberNode>,
    pub layout: NumberLayout,
}

impl NumberTemplate {
    /// What is no word of it stands for itself. Error 42601 if words do not go together.
    pub fn parse(text: &str) -> Result<NumberTemplate> {
        let mut template = NumberTemplate { nodes: Vec::new(), layout: NumberLayout::default() };
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((word, behind)) = first_word(rest) {
                template.layout.add(word)?;
                template.nodes.push(NumberNode::Word(word));
                rest = behind;
            } else {
                rest = take_literal(rest, |character, _| template.nodes.push(NumberNode::Text(character)));
            }
        }
        Ok(template)
    }
}
