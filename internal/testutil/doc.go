// Package testutil holds what the tests of several packages share: clocks in
// virtual time, node records, stores that fail on purpose.
package testutil
