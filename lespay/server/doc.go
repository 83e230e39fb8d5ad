// Package server decides who is served by a light server, with what capacity, and
// for how long.
package server
