package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/resource"
)

// billed is the endpoint as which the call is held for and charged: in a provider's own words that of its path.
func (c *Call) billed() llm.Endpoint {
	if i, ok := c.infers(); ok {
		return i.At
	}
	return c.route.endpoint
}

// infers is what a call in a provider's own words asks a model for; false: it is none, or nobody knows.
func (c *Call) infers() (pass.Inference, bool) {
	if c.route.prefix == nil || c.configured != nil || c.method != http.MethodPost {
		return pass.Inference{}, false
	}
	return pass.InferenceAt(c.rest)
}

// later says that what a call in a provider's own words is answered tells only that the work has begun.
func (c *Call) later() bool {
	if i, infers := c.infers(); infers {
		return i.Later
	}
	return c.route.prefix != nil && c.configured == nil && c.method == http.MethodPost && pass.BatchAt(c.rest) != pass.NoBatch
}

// uploads says that a call in a provider's own words is about files, which are no prompts.
func (c *Call) uploads() bool {
	_, infers := c.infers()
	return c.route.prefix != nil && c.configured == nil && !infers && pass.Uploads(c.rest)
}

// opaque says that the call may be in words that only its model's maker knows.
func (c *Call) opaque() bool {
	return c.route.endpoint == llm.Invoke || c.route.prefix != nil && c.configured == nil && c.method == http.MethodPost
}

// usageOf is what a whole answer tells of its usage: as the provider's dialect has it, else in the headers of
// Bedrock's, else in any shape that is known. Headers come last of what Bedrock tells: a body says the same, and
// what a cache held beside.
func (c *Call) usageOf(a *Answer) llm.Usage {
	if a.Report.Usage.Source != llm.UsageNone || a.Translated || !c.opaque() {
		return a.Report.Usage
	}
	if u, ok := bedrock.HeaderUsage(a.Header); ok {
		return u
	}
	u, _ := llm.AnyUsage(a.Body)
	return u
}

// retells says that what a call in a provider's own words is answered was made before: by what asks for it, changes it or
// deletes it. id is that of the answer, if it is known.
func (c *Call) retells(id string) bool {
	return c.route.prefix != nil && c.configured == nil && (c.method != http.MethodPost || id != "" && pass.Names(c.rest, id))
}

// charges says whether the usage that a whole answer tells of is charged with it. What is made at once is charged with the
// answer that tells of it first; what takes longer, as runs of assistants do, when an answer first tells its usage: of
// these the record of the owner knows whether it was charged, and of what has none it is not known.
func (s *Server) charges(ctx context.Context, c *Call, a *Answer) bool {
	if c.route.prefix == nil || c.configured != nil || c.result.usage.Source == llm.UsageNone {
		return !c.retells("")
	}
	id := pass.Made(a.Body)
	if s.cfg.Artifacts == nil || id == "" || a.Status/100 != 2 {
		return !c.retells(id)
	}
	kept, version, err := s.cfg.Artifacts.Get(ctx, id)
	switch {
	case errors.Is(err, resource.ErrNotFound):
		return !c.retells(id)
	case err != nil:
		s.log.Warn("what was used is not charged", "request_id", c.id, "id", id, "error", err)
		return false
	case kept.ChargedAt != 0 || kept.DeploymentID != c.result.target.Deployment.ID || c.place() != "":
		return false
	}
	done := *kept
	done.ChargedAt = resource.At(s.now())
	if _, err := s.cfg.Artifacts.Put(ctx, &done, version); err != nil {
		if !errors.Is(err, resource.ErrConflict) { // if it is, another answer has charged it
			s.log.Warn("what was used is not charged yet", "request_id", c.id, "id", id, "error", err)
		}
		return false
	}
	return true
}

// uncounted says that the provider did not say what was used: nothing, or of an answer that has a text
// that neither it nor the question had a token, as servers say that do not count.
func (c *Call) uncounted() bool {
	u := &c.result.usage
	return u.Source == llm.UsageNone || c.billed().Family() == llm.FamilyConversation && c.result.text > 0 && u.Total() == 0 && u.Units == (llm.Units{})
}

// estimateUsage counts what passed.
func (s *Server) estimateUsage(c *Call) llm.Usage {
	return s.used(c, c.billed(), c.generated(), s.now().Sub(c.result.dialled))
}

// complete fills in what the provider did not say of an answer that came whole.
func (s *Server) complete(c *Call) {
	if c.own != nil || c.owed || c.retold {
		return // no model was asked
	}
	if c.uncounted() {
		c.result.usage = s.used(c, c.billed(), c.generated(), s.waited(c))
		return
	}
	c.result.usage = c.quote.Complete(c.billed(), c.result.usage)
}

// ages is longer than any model takes for what is held.
const ages = 365 * 24 * time.Hour

// waited is how long the provider had to make what nobody has read: as long as it takes for all that is held,
// where only that will do.
func (s *Server) waited(c *Call) time.Duration {
	_, infers := c.infers()
	switch {
	case c.route.prefix == nil:
		return s.now().Sub(c.result.dialled)
	case c.result.raw && c.asksModel(), c.later():
		return ages
	case infers:
		return s.now().Sub(c.result.dialled)
	}
	return 0 // what came without a text need not be a model's
}

// asksModel says whether the call is in a provider's own words and for a model that it names, which is asked for
// as much as the answer has: the things of OpenAI's document are kept and not asked.
func (c *Call) asksModel() bool {
	_, infers := c.infers()
	return infers || c.opaque() && c.named != "" && !c.route.prefix.Documented()
}

// generated is the size of the text that a model has written, and of the whole answer where nobody can tell its
// text from the rest.
func (c *Call) generated() int64 {
	if c.result.text > 0 || c.result.raw {
		return c.result.text
	}
	if c.later() {
		return 0
	}
	if c.route.endpoint == llm.Invoke || c.route.prefix != nil && c.asksModel() {
		return c.result.passed
	}
	return 0
}
