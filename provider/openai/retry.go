package openai

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what a provider may ask for; longer waits are taken for mistakes of a clock.
const maxRetryAfter = 24 * time.Hour

// RetryAfter reads how long a provider asks to wait: retry-after-ms, Retry-After in seconds or as
// a date, or the later of x-ratelimit-reset-requests and -tokens where nothing remains.
// 0 means that it does not say.
func RetryAfter(now time.Time, h http.Header) time.Duration {
	if v := h.Get("Retry-After-Ms"); v != "" {
		if ms, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return bound(ms * float64(time.Millisecond))
		}
	}
	if v := strings.TrimSpace(h.Get("Retry-After")); v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil {
			return bound(s * float64(time.Second))
		}
		if t, err := http.ParseTime(v); err == nil {
			return bound(float64(t.Sub(now)))
		}
	}
	var wait time.Duration
	for _, what := range []string{"Requests", "Tokens"} {
		if left := h.Get("X-Ratelimit-Remaining-" + what); left != "" && left != "0" {
			continue
		}
		wait = max(wait, reset(h.Get("X-Ratelimit-Reset-"+what)))
	}
	return wait
}

// reset reads "1s", "6m0s", "20ms" or a number of seconds.
func reset(v string) time.Duration {
	if v == "" {
		return 0
	}
	if d, err := time.ParseDuration(v); err == nil {
		return bound(float64(d))
	}
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		return bound(s * float64(time.Second))
	}
	return 0
}

// bound makes a wait of ns nanoseconds, 0 for what is negative or not a number.
func bound(ns float64) time.Duration {
	switch {
	case ns > float64(maxRetryAfter):
		return maxRetryAfter
	case ns > 0:
		return time.Duration(ns)
	}
	return 0
}
