//! The pages for people, as a reader and a book builder take them: links lead somewhere, the book has every page, the tests
//! that a page names are there, and each command on a page is run by a test or says why not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod commands;
mod links;
mod pages;
mod summary;
