package resource

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// errDuration says that a text is no duration.
var errDuration = errors.New("not a duration such as 30s, 15m, 24h, 7d or 2w")

// longUnits gives the length of the units that time.ParseDuration does not know.
var longUnits = map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "mo": 30 * 24 * time.Hour}

// ParseDuration reads what time.ParseDuration reads, and whole days, weeks and months of
// 30 days: "7d", "2w", "1mo".
func ParseDuration(text string) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	unit := strings.TrimLeft(text, "0123456789")
	n, err := strconv.ParseInt(text[:len(text)-len(unit)], 10, 64)
	length, ok := longUnits[unit]
	if err != nil || !ok || n > math.MaxInt64/int64(length) {
		return 0, errDuration
	}
	return time.Duration(n) * length, nil
}
