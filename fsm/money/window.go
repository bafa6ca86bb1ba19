package money

import (
	"encoding/binary"

	"github.com/conclave-llm/conclave/resource"
)

const (
	windowAhead resource.Time = 60e9  // how early a window may be opened: nodes open the next one 5 s early
	windowLate  resource.Time = 600e9 // how late, for a node that was cut off
)

// Key is the key of an account's window; keys sort the windows of an account by their start.
func Key(id resource.AccountID, start resource.Time) []byte {
	return binary.BigEndian.AppendUint64(Prefix(id), uint64(start)^1<<63)
}

// Prefix is how the keys of all windows of an account begin.
func Prefix(id resource.AccountID) []byte {
	return append(append(make([]byte, 0, len(id)+9), id...), 0)
}

// SplitKey reads what Key gave.
func SplitKey(k []byte) (resource.AccountID, resource.Time, bool) {
	i := len(k) - 9
	if i < 0 || k[i] != 0 {
		return "", 0, false
	}
	return resource.AccountID(k[:i]), resource.Time(binary.BigEndian.Uint64(k[i+1:]) ^ 1<<63), true
}

// IsSession says that the window with the key is the account of an agent's session.
func IsSession(key []byte) bool {
	id, _, ok := SplitKey(key)
	return ok && isSession(id)
}

// Followed says that no record names the terms of the account: it is a session's, or an end user's who has a budget
// that his record does not name. Whoever wants of it brings it to its terms, and who comes late finds it gone.
func Followed(key []byte) bool {
	id, _, ok := SplitKey(key)
	if !ok {
		return false
	}
	_, _, name, _ := id.Split()
	_, given := resource.GivenBy(name)
	return given || resource.IsSession(name)
}

func isSession(id resource.AccountID) bool {
	_, _, name, _ := id.Split()
	return resource.IsSession(name)
}

// Near says that a window is near enough to now to be opened.
func Near(w resource.Window, now resource.Time) bool {
	return w.Start <= now+windowAhead && (w.End == 0 || w.End+windowLate > now)
}

// Fits says whether a window is as long as the terms make it in some time zone. A node that
// still has the terms from before a change must not open a second budget beside the first.
func Fits(t *resource.Terms, w resource.Window) bool {
	const hour resource.Time = 3600e9
	n := resource.Time(max(1, t.Every))
	within := func(least, most resource.Time) bool {
		return w.End-w.Start >= least*hour && w.End-w.Start <= most*hour
	}
	switch t.Per {
	case resource.PerHour:
		return within(n, n)
	case resource.PerDay:
		return within(n*24-2, n*24+2)
	case resource.PerWeek:
		return within(n*7*24-2, n*7*24+2)
	case resource.PerMonth:
		return within(n*28*24-2, n*31*24+2)
	default:
		return w == resource.Window{}
	}
}
