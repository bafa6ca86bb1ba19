//go:build !linux

package rig

import "errors"

// Volume is a file system of its own, in a file. There is none on this system.
type Volume struct{}

var errNoVolume = errors.New("file systems in files need Linux")

// MayMount says why no Volume can be made here.
func MayMount() error { return errNoVolume }

// NewVolume makes none.
func NewVolume(_, _ string, _ int64) (*Volume, error) { return nil, errNoVolume }

// Fail does nothing.
func (*Volume) Fail() error { return errNoVolume }

// Back does nothing.
func (*Volume) Back() error { return errNoVolume }

// Size is not known.
func (*Volume) Size() (int64, error) { return 0, errNoVolume }

// Fill does nothing.
func (*Volume) Fill(int64) error { return errNoVolume }

// Free does nothing.
func (*Volume) Free() error { return errNoVolume }

// Close does nothing.
func (*Volume) Close() error { return nil }
