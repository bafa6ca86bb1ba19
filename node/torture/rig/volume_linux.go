package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	trialSize = 8 << 20 // of the volume that MayMount tries
	unmounts  = 100     // tries, until the processes are gone that used it
	unmount   = 50 * time.Millisecond
	fills     = 20 // tries, as others write meanwhile and the filler's own map takes room
)

// The ioctl that ends a file system at once, ext4's and XFS's alike, and the flag for what is not yet in its
// journal to be lost.
const (
	goingDown  = 0x8004587d
	noLogFlush = 2
)

// Volume is a file system of its own, in a file: its power may fail, and it may be full.
type Volume struct {
	image, mount string
}

// MayMount says why no Volume can be made here; nil: one can. It makes one.
func MayMount() error {
	if os.Geteuid() != 0 {
		return errors.New("file systems in files need root")
	}
	for _, tool := range []string{"mkfs.ext4", "losetup", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("file systems in files need e2fsprogs and util-linux: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "conclave-volume-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	v, err := NewVolume(filepath.Join(dir, "image"), filepath.Join(dir, "mount"), trialSize)
	if err != nil {
		return err
	}
	return errors.Join(v.Fail(), v.Close())
}

// NewVolume makes a file system of so many bytes in a new file, and mounts it on a folder. Its owner closes it.
func NewVolume(image, mount string, size int64) (_ *Volume, err error) {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a volume: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(image)
		}
	}()
	if err := errors.Join(f.Truncate(size), f.Close(), os.MkdirAll(mount, 0o700)); err != nil {
		return nil, fmt.Errorf("make a volume: %w", err)
	}
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", image); err != nil { // nothing is kept for root
		return nil, err
	}
	v := &Volume{image: image, mount: mount}
	return v, v.attach()
}

// attach mounts the file, by a device of its own: one that somebody else still has mounted in his namespace, as it was when its
// power failed, would be taken again otherwise.
func (v *Volume) attach() error {
	ctx, cancel := context.WithTimeout(context.Background(), toolWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", v.image).Output() //nolint:gosec // a file of our own
	if err != nil {
		return fmt.Errorf("find a loop device: %w", err)
	}
	device := strings.TrimSpace(string(out))
	return errors.Join(command("mount", "-o", "discard", device, v.mount), command("losetup", "--detach", device)) // when it is unmounted
}

// Fail is a power failure: what was not synced is lost. Who uses the volume must not go on, see Process.Freeze.
func (v *Volume) Fail() error {
	f, err := os.Open(v.mount)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush); err != nil {
		return fmt.Errorf("shut a file system down: %w", err)
	}
	return nil
}

// Back mounts the volume again, as the machine's next start does. Nobody may use it.
func (v *Volume) Back() error {
	if err := v.detach(); err != nil {
		return err
	}
	return v.attach()
}

func (v *Volume) detach() error {
	for try := 1; ; try++ {
		err := syscall.Unmount(v.mount, 0)
		if err == nil {
			return nil
		}
		if try == unmounts {
			return fmt.Errorf("unmount %s: %w", v.mount, err)
		}
		time.Sleep(unmount)
	}
}

// Size is how many bytes the volume has.
func (v *Volume) Size() (int64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(v.mount, &s)
	return int64(s.Blocks) * s.Bsize, err
}

// Fill leaves so many bytes free, until Free.
func (v *Volume) Fill(left int64) error {
	f, err := os.OpenFile(filepath.Join(v.mount, filler), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for range fills {
		var s syscall.Statfs_t
		if err := syscall.Fstatfs(int(f.Fd()), &s); err != nil {
			return err
		}
		more := int64(s.Bavail)*s.Bsize - left
		if more <= 0 {
			return nil
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		err = syscall.Fallocate(int(f.Fd()), 0, info.Size(), more)
		if err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("fill %s: %w", v.mount, err)
		}
	}
	return nil
}

// Free undoes Fill.
func (v *Volume) Free() error { return os.Remove(filepath.Join(v.mount, filler)) }

// Close unmounts the volume and removes its file, whoever uses it.
func (v *Volume) Close() error {
	return errors.Join(syscall.Unmount(v.mount, syscall.MNT_DETACH), os.Remove(v.image))
}
