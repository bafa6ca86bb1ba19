package probe

import (
	"errors"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// ErrSkipped says that a deployment was not asked, for a reason that is the gateway's own: its budget for
// health checks is used up. Nothing is learnt of the deployment.
var ErrSkipped = errors.New("the deployment was not asked")

// Kind is a way to find out about deployments.
type Kind struct {
	name    string // in metrics
	topic   byte   // of the gossip
	timeout time.Duration
	hash    func(d *resource.Deployment) uint64 // those with the same one are asked once
	every   func(s *resource.Settings) time.Duration
	wants   func(d *resource.Deployment) bool
	judge   func(err error) Verdict
}

// Topics number what Probers share by gossip.
const (
	Topic     byte = 2 // of checks without tokens
	TopicPaid byte = 3 // of checks by requests
)

// leastPaid is the shortest time between two requests that ask a deployment, which cost money.
const leastPaid = time.Minute

// Reach asks whether a backend can be reached, and uses no tokens.
func Reach() Kind {
	return Kind{
		name: "reach", topic: Topic, timeout: 10 * time.Second, hash: Hash, judge: judge,
		every: func(s *resource.Settings) time.Duration { return s.HealthInterval },
		wants: func(*resource.Deployment) bool { return true },
	}
}

// Paid asks each deployment that wants it by a request to its model, at most once a minute.
func Paid() Kind {
	return Kind{
		name: "request", topic: TopicPaid, timeout: 30 * time.Second, judge: judgeAnswer,
		hash:  func(d *resource.Deployment) uint64 { return xxhash.Sum64String(d.ID + "\x00" + d.HealthCheckModel) },
		every: func(s *resource.Settings) time.Duration { return max(leastPaid, s.HealthInterval) },
		wants: func(d *resource.Deployment) bool { return d.HealthCheckModel != "" },
	}
}

// judgeAnswer makes a verdict of a request's error. Unlike a list of models that a provider lacks, an
// answer that it refuses is a fault; too many requests are none.
func judgeAnswer(err error) Verdict {
	v := judge(err)
	if v.Result == Reachable && v.Status >= http.StatusBadRequest && v.Status != http.StatusTooManyRequests {
		v.Result = Refused
	}
	if e, ok := errors.AsType[*llm.Error](err); ok && v.Result == Connection && e.Kind == llm.Invalid {
		v.Result = Unusable // the gateway cannot say the request to this provider
	}
	return v
}
