package proxy

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// indexWait bounds the wait for the index that a request demands.
const indexWait = 5 * time.Second

// authenticate is the step that finds out who the request comes from. A request that names
// an index is answered from state that is at least as new, which may have blocked the key.
func authenticate(ctx context.Context, s *Server, c *Call) error {
	secret := auth.Secret(c.header, c.cat.Settings().KeyHeader)
	if secret == "" {
		secret = c.keyInQuery()
	}
	who, err := s.identify(ctx, c, secret)
	if err != nil {
		c.who = who // nil for a stranger
		return err
	}
	if min := c.header.Get("X-Conclave-Min-Index"); min != "" {
		if err := s.waitIndex(ctx, min); err != nil {
			return err
		}
		c.cat = s.cfg.Catalog()
		if who, err = s.identify(ctx, c, secret); err != nil {
			c.who = who
			return err
		}
	}
	c.who, c.view = who, s.view.Of(c.cat)
	c.levels = who.Levels(c.levels[:0])
	c.chain, c.above = len(c.levels), len(c.levels)
	return s.checkEarly(c)
}

// keyInQuery is the key of a client of Google's that sends none in a header, but "?key=" behind the path. From then on it
// stands in a header, too.
func (c *Call) keyInQuery() string {
	if !strings.Contains(c.query, "key=") || reply.VendorAt(c.path) != llm.VendorGoogle {
		return ""
	}
	q, _ := url.ParseQuery(c.query)
	key := q.Get("key")
	if key != "" {
		c.header = c.header.Clone()
		c.header.Set("X-Goog-Api-Key", key)
	}
	return key
}

// waitIndex waits until this node has applied an index, which is written as "5" or, with the
// restore generation that it belongs to, as "2-5".
func (s *Server) waitIndex(ctx context.Context, min string) error {
	var generation uint64
	digits := min
	if before, after, ok := strings.Cut(min, "-"); ok {
		g, err := strconv.ParseUint(before, 10, 64)
		if err != nil {
			return badIndex(err)
		}
		generation, digits = g, after
	}
	index, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return badIndex(err)
	}
	waiting, cancel := context.WithTimeout(ctx, indexWait)
	defer cancel()
	if err := s.cfg.WaitIndex(waiting, generation, index); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_index_not_reached", RetryAfter: time.Second,
			Message: "This node has not caught up with the index that the request demands.", Err: err,
		}
	}
	return nil
}

func badIndex(err error) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_min_index", Param: "x-conclave-min-index",
		Message: "The header x-conclave-min-index holds no index.", Err: err,
	}
}

// authorize is the step that finds the model and whether every level may use it. Who may not
// learns the same of a model that is there and one that is not.
func authorize(_ context.Context, _ *Server, c *Call) error {
	model, err := policy.Model(c.cat, c.levels[:c.above], c.asked())
	if err != nil {
		return err
	}
	if err := c.checkFallbacks(); err != nil {
		return err
	}
	c.model = model
	c.levels = c.cat.ModelLevels(c.levels[:c.above], nil, model)
	if c.route.endpoint.Family() == llm.FamilyEmbedding && c.fields.Stream {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "stream", Message: "Embeddings do not stream."}
	}
	return nil
}
