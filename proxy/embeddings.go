package proxy

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/openai/embeddings"
	"github.com/conclave-llm/conclave/proxy/follow"
	"github.com/conclave-llm/conclave/proxy/retry"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
)

// embeddingsRoute serves embeddings, which generate no tokens and do not stream.
func embeddingsRoute() (*Route, error) { return openAI(llm.Embeddings, "/embeddings") }

// embedContentRoute and batchEmbedContentsRoute serve Google's.
func embedContentRoute() (*Route, error) { return google(llm.EmbedContent, "embedContent") }

func batchEmbedContentsRoute() (*Route, error) {
	return google(llm.BatchEmbedContents, "batchEmbedContents")
}

// bodyFor is what the deployment is sent at an endpoint, as bodyAt says. Embeddings are relayed
// where the provider takes their form and so many inputs at once; else they are said in parts.
func (s *Server) bodyFor(c *Call, d *view.Deployment, at llm.Endpoint) (raw []byte, hide bool, err error) {
	c.apart, c.packs = false, false
	if c.route.endpoint.Family() != llm.FamilyEmbedding {
		if raw, hide, err = c.bodyAt(d, at); err == nil && at == llm.Chat {
			raw, err = c.fitted(d, raw)
		}
		return raw, hide, err
	}
	most, err := d.Provider.Batch(d.Name, d.Account.Or().Options)
	if err != nil {
		return nil, false, &llm.Error{Kind: llm.Unavailable, Code: retry.CodeUnusable, Message: "The deployment cannot be used.", Err: err}
	}
	if at == c.route.endpoint {
		inputs := 0
		if inputs, c.packs = embeddings.Wants(c.body); most == 0 || inputs <= most {
			return c.bodyAt(d, at)
		}
	}
	if c.vectors == nil {
		in, _ := provider.EmbedInboundOf(c.route.endpoint) // Way has found it
		if c.vectors, err = translate.ReadVectors(in, c.body, c.asked()); err != nil {
			return nil, false, err
		}
	}
	out, _ := provider.EmbedOutboundOf(at)
	t := c.targetOf(d)
	err = c.vectors.Write(out, &t, most, s.cfg.Detokenize)
	c.dropped = t.Dropped()
	if err != nil {
		return nil, false, err
	}
	c.apart = true
	return c.vectors.Bodies[0], false, nil
}

// ask makes the attempt, in as many parts as were written.
func (s *Server) ask(ctx context.Context, c *Call, a *upstream.Attempt) (Answer, error) {
	if c.isTask(a.Endpoint) {
		return s.askTask(ctx, c, a)
	}
	if c.bodies != nil {
		return s.askPrompts(ctx, c, a)
	}
	first, next, err := c.follows(a)
	if err != nil {
		return Answer{}, err
	}
	if next != nil {
		return follow.Do(ctx, s.cfg.Upstream, first, next)
	}
	if !c.apart {
		return s.cfg.Upstream.Do(ctx, a)
	}
	var size atomic.Int64
	heads := make([]Answer, len(c.vectors.Bodies))
	most := cmp.Or(a.MaxBody, upstream.DefaultMaxBody)
	parts, err := c.vectors.Ask(ctx, func(ctx context.Context, i int, body []byte) (translate.Part, error) {
		part := *a
		part.Body = body
		got, err := s.cfg.Upstream.Do(ctx, &part)
		if err != nil {
			return translate.Part{}, err
		}
		if size.Add(int64(len(got.Body))) > most {
			return translate.Part{}, &llm.Error{
				Kind: llm.TooLarge, Status: http.StatusBadGateway, Code: "response_too_large", NoRetry: true,
				Message: "The answers to all parts of the request are larger than " + strconv.FormatInt(most, 10) + " bytes.",
			}
		}
		said(&got)
		heads[i] = Answer{Status: got.Status, Header: got.Header}
		return translate.Part{Body: got.Body, Report: got.Report}, nil
	})
	if err != nil {
		return Answer{}, err
	}
	c.parts = parts
	joined := heads[len(heads)-1]
	joined.Report.Usage, joined.Report.HasUsage = translate.Used(parts)
	return joined, nil
}

// tokenHeaders are those in which providers say how many tokens the inputs had, who do not say it in
// the body: Bedrock and Hugging Face.
var tokenHeaders = [...]string{"X-Amzn-Bedrock-Input-Token-Count", "X-Compute-Tokens"}

// said takes the usage of the headers, if the body has none.
func said(a *Answer) {
	for _, name := range tokenHeaders {
		n, err := strconv.ParseInt(a.Header.Get(name), 10, 64)
		if !a.Report.HasUsage && err == nil && n >= 0 && n <= llm.MaxTokenCount {
			a.Report.Usage, a.Report.HasUsage = llm.Usage{Input: n, Source: llm.UsageProvider}, true
		}
	}
}

// vectorsOf says the provider's answer as the client wants it.
func (s *Server) vectorsOf(c *Call, a *Answer) (err error) {
	if !c.apart {
		if c.packs {
			a.Body, err = embeddings.Packed(a.Body)
		}
		return err
	}
	usage := a.Report.Usage
	if !a.Report.HasUsage {
		usage = s.estimateUsage(c)
	}
	a.Body, err = c.vectors.Answer(c.parts, usage)
	c.parts = nil
	a.Header = a.Header.Clone()
	a.Header.Del("Content-Type") // is the dialect's own
	return err
}
