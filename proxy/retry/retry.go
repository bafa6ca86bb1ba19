// Package retry decides what comes after an attempt that failed: whether another deployment may do
// better, or the same one later, and how long that one is left alone.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/secret"
)

// What is waited before the same deployment is asked again.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 8 * time.Second
)

// CodeUnusable is the code of a deployment whose own record is at fault.
const CodeUnusable = "conclave_deployment_unusable"

// Unusable says that what a request needs cannot be used, and why: a secret that its source does not
// give now, and a blob that no node gives, have codes of their own.
func Unusable(message string, err error) *llm.Error {
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Code == llm.CodeNoBlob {
		return &llm.Error{Kind: e.Kind, Code: e.Code, Message: message + " " + e.Message, RetryAfter: e.RetryAfter, Err: err}
	}
	code := CodeUnusable
	if u, ok := errors.AsType[*secret.Unresolved](err); ok {
		code, message = secret.CodeUnresolved, message+" A secret that it needs cannot be resolved now ("+u.Reason+")."
	}
	return &llm.Error{Kind: llm.Unavailable, Code: code, Message: message, Err: err}
}

// Repeats counts the attempts at the target's deployment among those before.
func Repeats(before []router.Target, t *router.Target) int {
	n := 0
	for i := range before {
		if before[i].Deployment == t.Deployment {
			n++
		}
	}
	return n
}

// Pause waits before a deployment is asked again: for as long as it said, or longer each
// time. A deployment that wants to be left alone for longer than that is not asked again:
// the client learns how long.
func Pause(ctx context.Context, again int, last error) error {
	wait := min(firstPause<<(again-1), longestPause)
	if asked := reply.AsError(last).RetryAfter; asked > longestPause {
		return last
	} else if asked > 0 {
		wait = asked
	}
	wait += rand.N(firstPause / 2) //nolint:gosec // spreads retries, guards nothing
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WorthAnother says whether another deployment may do better.
func WorthAnother(err error) bool {
	switch e := reply.AsError(err); e.Kind {
	case llm.RateLimited, llm.Unavailable, llm.Upstream, llm.Timeout:
		return true
	case llm.Unauthenticated, llm.Forbidden, llm.NotFound:
		return true // the deployment's credential or model, for the client's own were checked before
	case llm.Invalid:
		return e.Code == llm.CodeUnsayable || e.Code == llm.CodeUnsupported // by this provider
	default:
		return false
	}
}

// WorthRepeating says whether the same deployment may do better the next time.
func WorthRepeating(err error) bool {
	switch e := reply.AsError(err); e.Kind {
	case llm.RateLimited, llm.Unavailable, llm.Timeout:
		return e.Code != CodeUnusable && e.Code != secret.CodeUnresolved && e.Code != llm.CodeNoBlob
	case llm.Upstream:
		return e.Code != openai.CodeCredentials
	default:
		return false
	}
}
