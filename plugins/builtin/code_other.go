//go:build !linux

package builtin

// dropCode does nothing: other systems share and reclaim the pages of a program by themselves.
func dropCode() error { return nil }
