//go:build invariants

package invariants

// Enabled tells whether the self-checks are compiled in.
const Enabled = true
