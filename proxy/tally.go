package proxy

import (
	"context"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/utility"
)

const (
	maxCounted    = 256 << 10   // bytes of a request whose prompt is counted
	tokenizerWait = time.Second // for a tokenizer that has to be read first
)

// tally is what the model's tokenizer counts of an exchange of which its provider does not say what was used; 0: it is not
// counted.
type tally struct {
	done           bool
	prompt, output int64
}

// hear decides whether what an attempt's answer says is kept, so that it can be counted if the provider does not say what
// was used. A stream's is not where it always has said it. An answer that came whole is kept if it comes to that.
func (s *Server) hear(c *Call, a *Answer) {
	c.written, c.result.tally = nil, tally{}
	if c.later() {
		return
	}
	switch c.billed().Family() {
	case llm.FamilyConversation, llm.FamilyEmbedding:
	default:
		return
	}
	if a.Stream != nil && (a.Raw || c.view.Deployment(&c.result.target).Counting.Tells()) {
		return
	}
	c.answer = tokenize.Answer{}
	c.written = &c.answer
}

// hearStream keeps what a stream in the client's own dialect says.
func (c *Call) hearStream(a *Answer) {
	if out, ok := provider.OutboundOf(c.billed()); ok {
		a.Stream = translate.Overhear(out, a.Stream, c.written)
		return
	}
	c.written.Lose()
}

// hearWhole keeps what a whole answer in the client's own dialect says.
func (c *Call) hearWhole(a *Answer) {
	if c.written == nil || a.Translated || a.Report.TextBytes == 0 || !c.uncounted() {
		return
	}
	out, ok := provider.OutboundOf(c.billed())
	if !ok {
		c.written.Lose()
		return
	}
	res, err := out.DecodeResponse(a.Body)
	if err != nil {
		c.written.Lose()
		return
	}
	c.written.AddWhole(res)
}

// used is what an exchange has used whose provider does not say: as the model's tokenizer counts it, where that can be
// done, else as it is estimated. What was sent before is out while it is counted.
func (s *Server) used(c *Call, e llm.Endpoint, text int64, waited time.Duration) llm.Usage {
	u := c.quote.Used(e, text, waited)
	if c.written == nil || u.Source != llm.UsageEstimated {
		return u
	}
	t := &c.result.tally
	if !t.done {
		c.push()
		t.done = true
		s.tally(c, t)
	}
	if t.prompt > 0 {
		u.Input = t.prompt
	}
	if t.output > 0 && text > 0 {
		u.Output = t.output
	}
	return u
}

// tally counts. A node counts few exchanges at a time: what would have to wait is estimated.
func (s *Server) tally(c *Call, t *tally) {
	select {
	case s.counts <- struct{}{}:
		defer func() { <-s.counts }()
	default:
		return
	}
	k := s.tokenizerOf(c)
	if k == nil {
		return
	}
	if n, err := c.written.Count(k); err == nil {
		t.output = int64(n)
	}
	body := c.body
	if c.spelled != nil {
		body = c.spelled
	}
	if len(body) > maxCounted {
		return
	}
	if n, err := utility.TokensAt(k, c.billed(), body); err == nil {
		t.prompt = int64(n)
	}
}

// tokenizerOf is that of the model which has answered; nil: it cannot be had now.
func (s *Server) tokenizerOf(c *Call) tokenize.Tokenizer {
	d := c.view.Deployment(&c.result.target)
	if !d.Counting.Countable(s.now()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), tokenizerWait) // the client may be gone
	defer cancel()
	k, _, err := utility.Tokenizer(ctx, s.cfg.Tokenizers, c.result.target.Deployment, d.Name)
	if first := d.Counting.Had(s.now(), err == nil); first {
		s.log.Warn("a model's tokenizer cannot be had: what its provider does not count is estimated",
			"deployment_id", c.result.target.Deployment.ID, "model", d.Name, "error", err)
	}
	if err != nil {
		return nil
	}
	return k
}

// learn takes in what the call has taught: how many tokens the model makes of a prompt, by who has counted them. Pictures
// and sounds are not counted here.
func (c *Call) learn() {
	u, t := &c.result.usage, &c.result.tally
	if u.Source == llm.UsageProvider || u.Source == llm.UsageEstimated && t.prompt > 0 && c.fields.MediaBytes == 0 {
		c.view.Model(c.model).Factor.Learn(c.quote.Raw, u.Prompt())
	}
}
