// Package interop has tests alone: they read our containers with the programs and
// libraries of other people, as somebody would who has the file key but not us.
// format/SPEC.md § 1.1 promises that it can be done. It is a module of its own,
// so that nobody who imports ours gets its dependencies.
package interop
