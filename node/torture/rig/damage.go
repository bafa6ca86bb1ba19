package rig

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Newest is the newest file below a folder whose path matches, "" if there is none: names that are numbered have the order of their age.
func Newest(dir, pattern string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		return "", err
	}
	return slices.Max(files), nil
}

// content is what a file has before the zeros at its end.
func content(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	b = bytes.TrimRight(b, "\x00")
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s has nothing that could be damaged", path)
	}
	return b, err
}

// Overwrite puts bytes into a file in place, as a bad disk does.
func Overwrite(path string, b []byte, at int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = f.WriteAt(b, int64(at))
	return err
}

// Flip changes a bit in the middle of what a file has.
func Flip(path string) error {
	b, err := content(path)
	if err != nil {
		return err
	}
	return Overwrite(path, []byte{b[len(b)/2] ^ 0x10}, len(b)/2)
}

// CutEnd takes a file the last quarter of what it has.
func CutEnd(path string) error {
	b, err := content(path)
	if err != nil {
		return err
	}
	return Overwrite(path, make([]byte, len(b)/4), len(b)-len(b)/4)
}

// Misspell writes another letter in the place of the first one wherever a file has a word, and says how often.
func Misspell(path, word string, letter byte) (found int, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte(word))
		if i < 0 {
			return found, nil
		}
		at += i
		if err := Overwrite(path, []byte{letter}, at); err != nil {
			return found, err
		}
		found++
	}
}

// Copy copies all that is in a folder into another one, which may be there and then has nothing of its own. It outlives a power
// failure: a node trusts what it has once synced.
func Copy(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if err := command("cp", "-a", from+"/.", to); err != nil {
		return err
	}
	return command("sync", "-f", to)
}
