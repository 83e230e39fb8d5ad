// Package invariants switches the expensive self-checks of the library.
//
// [Enabled] is a constant: false in a normal build, so that the compiler drops
// the checks, and true when the build tag "invariants" is given. A check that
// fails panics with a message that names the broken rule.
package invariants
