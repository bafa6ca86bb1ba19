package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/proxy/order"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/resource"
)

// store is what the gateway keeps for clients.
type store struct {
	files  *files.Shelf
	desk   *batch.Desk
	runner *batch.Runner
}

// newStore makes one, nil where nobody keeps anything.
func newStore(s *Server) *store {
	if s.cfg.Artifacts == nil {
		return nil
	}
	r := batch.New(batch.Config{
		NodeID: s.cfg.Member, Store: s.cfg.Artifacts, Ask: s.askLine, Now: s.now, Logger: s.log, Serving: s.cfg.Serving,
		Settings: func() *resource.Settings { return s.cfg.Catalog().Settings() },
	})
	return &store{files: files.New(s.cfg.Artifacts, s.now), desk: batch.NewDesk(s.cfg.Artifacts, s.now, r.Kick), runner: r}
}

// Batches runs the cluster's batches here; nil if there are none.
func (s *Server) Batches() *batch.Runner {
	if s.store == nil {
		return nil
	}
	return s.store.runner
}

// fileRoutes serve OpenAI's files and batches: out of the cluster's own store, or in the words of the
// provider that keeps them.
func fileRoutes() ([]*Route, error) {
	var all []*Route
	for _, row := range []struct {
		method, path string
		answer       step
	}{
		{"POST", "/files", createFile},
		{"GET", "/files", listFiles},
		{"GET", "/files/{artifact}", showFile},
		{"DELETE", "/files/{artifact}", deleteFile},
		{"GET", "/files/{artifact}/content", fileContent},
		{"POST", "/batches", createBatch},
		{"GET", "/batches", listBatches},
		{"GET", "/batches/{artifact}", showBatch},
		{"POST", "/batches/{artifact}/cancel", cancelBatch},
	} {
		r, err := newRoute(row.method, []string{"/v1" + row.path, row.path}, llm.PassThrough, steps{
			auth: authenticate, body: readKept, policy: checkKept,
			access: relayed(authorizePass), limits: relayed(reserveLimits), budget: relayed(reserveBudget),
			guardrails: relayed(guardBefore), plan: relayed(planPass), ledger: relayed(openEntry),
			answer: func(ctx context.Context, s *Server, c *Call) error {
				if row.method == http.MethodPost && row.path == "/batches" && c.who.Unkept {
					return keyRequired("A batch is run and paid for in the name of a virtual key")
				}
				if c.here {
					return row.answer(ctx, s, c)
				}
				return dispatch(ctx, s, c)
			},
		})
		if err != nil {
			return nil, err
		}
		r.prefix, r.azure = &pass.Files, azurePaths(row.path)
		r.upload = row.method == "POST" && row.path == "/files"
		all = append(all, r)
	}
	return all, nil
}

// relayed is a step of requests that a provider is asked: what is answered here costs nothing and
// says nothing, and the lines of a batch take every step themselves.
func relayed(take step) step {
	return func(ctx context.Context, s *Server, c *Call) error {
		if c.here {
			return nil
		}
		return take(ctx, s, c)
	}
}

// readKept is the step that reads the body and finds out who keeps what the request is about: a
// provider, if the client names one, a model or something that one keeps, else the cluster.
func readKept(ctx context.Context, s *Server, c *Call) error {
	if err := readPass(ctx, s, c); err != nil {
		return err
	}
	q, err := url.ParseQuery(c.query)
	if err != nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Message: "The query of the URL cannot be read.", Err: err}
	}
	var said struct {
		Provider string `json:"custom_llm_provider"`
		Models   any    `json:"target_model_names"`
	}
	_ = json.Unmarshal(c.body, &said) // its syntax is checked
	id := c.named
	c.named = ""
	if err := s.findKept(ctx, c); err != nil {
		return err
	}
	c.kept.Provider = cmp.Or(said.Provider, pass.Provider(c.header, q))
	if c.fields.Model == "" {
		if c.fields.Model, err = target(said.Models, q); err != nil {
			return err
		}
	}
	owner := policy.Said(c.header, pass.Owner)
	c.here = c.kept.DeploymentID == "" && (c.kept.Artifact != nil || c.kept.Provider == "" && c.fields.Model == "" && owner == "")
	if !c.here {
		return nil
	}
	c.named = id
	if s.store == nil {
		return &llm.Error{Kind: llm.NotFound, Code: "endpoint_not_served", Message: "This gateway keeps no files. Name a provider."}
	}
	return nil
}

// target is the one model that target_model_names has.
func target(said any, q url.Values) (string, error) {
	text, _ := said.(string)
	if list, ok := said.([]any); ok && len(list) == 1 {
		text, _ = list[0].(string)
	} else if ok {
		text = ","
	}
	text = strings.TrimSpace(cmp.Or(text, q.Get("target_model_names")))
	if strings.Contains(text, ",") {
		return "", &llm.Error{
			Kind: llm.Invalid, Code: "unsupported_value", Param: "target_model_names",
			Message: "A file goes to one model's provider. Upload it once for each.",
		}
	}
	return text, nil
}

// findKept looks up what the request names by its ids.
func (s *Server) findKept(ctx context.Context, c *Call) (err error) {
	if s.cfg.Artifacts == nil {
		return nil
	}
	c.kept, err = pass.Find(ctx, s.cfg.Artifacts, c.who, c.rest, c.body)
	return err
}

// findNamed refuses a request that asks a model and names what is another's.
func (s *Server) findNamed(ctx context.Context, c *Call) error {
	if s.cfg.Artifacts == nil || !pass.Refers(c.billed(), &c.fields, c.body) {
		return nil
	}
	kept, err := pass.FindIn(ctx, s.cfg.Artifacts, c.who, c.body)
	if err == nil && c.route.prefix != nil {
		c.kept = kept
	}
	return err
}

// readNamed is readPass, and finds out which deployment keeps what the request is about.
func readNamed(ctx context.Context, s *Server, c *Call) error {
	if err := readPass(ctx, s, c); err != nil || pass.Infers(c.rest) {
		return err // readBody has looked
	}
	if err := s.findKept(ctx, c); err != nil {
		return err
	}
	if q, err := url.ParseQuery(c.query); err == nil && c.route.prefix.Documented() {
		c.kept.Provider = pass.Provider(c.header, q)
	}
	return nil
}

// checkKept is the step that checks the policies: of what is answered here those that need no prompt,
// and of what is relayed the key's list of paths, too.
func checkKept(ctx context.Context, s *Server, c *Call) error {
	if c.here {
		return checkCustomer(ctx, s, c)
	}
	if err := passAllowed(c, c.levels); err != nil {
		return err
	}
	return checkPolicies(ctx, s, c)
}

// drops are the fields of the body that the provider must not see.
func (c *Call) drops() []string {
	switch p := c.route.prefix; {
	case c.configured != nil:
		return nil
	case p == &pass.Files:
		return slices.Concat(llm.OwnFields(), pass.Own, []string{"model"})
	case p != nil && p.Documented():
		return slices.Concat(llm.OwnFields(), pass.Own)
	}
	return llm.OwnFields()
}

// own records whose the thing is that an answer tells of, and who keeps it, before the client learns
// its id, and forgets what was deleted.
func (s *Server) own(ctx context.Context, c *Call, a *Answer, body []byte) {
	if c.configured != nil || s.cfg.Artifacts == nil || a.Status < 200 || a.Status > 299 {
		return
	}
	switch {
	case c.keepsIn(a):
		s.recordOwner(ctx, c, pass.Made(body))
	case c.route.prefix == nil || pass.Infers(c.rest):
	case c.method == http.MethodDelete:
		if id, ok := pass.Deleted(c.method, c.rest); ok {
			s.disown(ctx, c, id)
		}
	case c.method == http.MethodPost:
		s.recordOwner(ctx, c, pass.Made(body))
	}
}

// keepsChat says whether the provider stores the chat completion that it makes, and may be asked for it.
func (c *Call) keepsChat() bool {
	if c.route.endpoint != llm.Chat || !bytes.Contains(c.body, []byte(`"store"`)) || !pass.Keeps(c.cat, c.result.target.Deployment) {
		return false
	}
	var said struct {
		Store bool `json:"store"`
	}
	return json.Unmarshal(c.body, &said) == nil && said.Store
}

// keepsIn is keepsChat, of an answer in the provider's own words.
func (c *Call) keepsIn(a *Answer) bool { return !a.Translated && c.keepsChat() }

// ownEvent is own for an event of a stream whose id is untold yet. It says whether it is so still.
func (s *Server) ownEvent(ctx context.Context, c *Call, untold bool, data []byte) bool {
	if !untold {
		return false
	}
	id := pass.Made(data)
	if s.cfg.Artifacts != nil {
		s.recordOwner(ctx, c, id)
	}
	return id == ""
}

// recordOwner records that a thing with that id is the caller's, and what is known of a batch that it has ordered.
func (s *Server) recordOwner(ctx context.Context, c *Call, id string) {
	days := c.cat.Settings().OwnerDays
	if id == "" || days == 0 {
		return
	}
	now := s.now()
	made := &resource.Artifact{
		ID: id, Kind: resource.ArtifactProvider, DeploymentID: c.result.target.Deployment.ID, Owners: c.owners(),
		CreatedAt: resource.At(now), ExpiresAt: resource.At(now.Add(time.Duration(days) * 24 * time.Hour)),
	}
	if c.keepsChat() || !c.owed && c.result.usage.Source == llm.UsageProvider && c.result.usage.Total() > 0 {
		made.ChargedAt = made.CreatedAt // its usage is told again whenever it is asked for
	}
	if c.form != nil || c.ordersBatch() {
		made.Names = c.names
	}
	if c.ordersBatch() {
		made.Order = &resource.BatchOrder{At: string(c.place()), Holds: c.advances.Recorded()}
		for _, n := range c.kept.Names { // of the file with its lines
			(*order.Names)(&made.Names).Add(n.Asked, n.Sent)
		}
	}
	_, err := s.cfg.Artifacts.Put(ctx, made, 0)
	c.ordered = err == nil && made.Order != nil
	if errors.Is(err, resource.ErrExists) { // it is its owner's, whoever asked, and was held for when it was ordered first
		c.releaseAdvances()
		return
	}
	if err != nil {
		s.log.Warn("the owner of an id is not recorded", "request_id", c.id, "error", err)
	}
}

// disown forgets whose a thing was that its provider has deleted.
func (s *Server) disown(ctx context.Context, c *Call, id string) {
	a, _, err := s.cfg.Artifacts.Get(ctx, id)
	if err != nil || a.Kind != resource.ArtifactProvider {
		return
	}
	if a.Order != nil && a.ChargedAt == 0 && !s.forgetBatch(ctx, c, a) {
		return
	}
	if err := s.cfg.Artifacts.Delete(ctx, id); err != nil && !errors.Is(err, resource.ErrNotFound) {
		s.log.Warn("the owner of a deleted id is not forgotten", "request_id", c.id, "error", err)
	}
}

func createFile(ctx context.Context, s *Server, c *Call) error {
	if c.form == nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_form", Message: "A file is uploaded as multipart/form-data with the fields purpose and file."}
	}
	if n, _ := c.form.Files(); n != 1 {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_form", Param: "file", Message: "The form must have one file, not " + strconv.Itoa(n) + "."}
	}
	var said struct {
		Purpose string `json:"purpose"`
		Anchor  string `json:"expires_after[anchor]"`
		Seconds string `json:"expires_after[seconds]"`
	}
	if err := json.Unmarshal(c.body, &said); err != nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_form", Message: "A field of the form stands there twice.", Err: err}
	}
	u := &files.Upload{Name: c.form.FileName(), Purpose: said.Purpose, Body: c.form.File(), Owners: c.owners(), Days: c.cat.Settings().FileDays}
	if said.Seconds != "" {
		n, err := strconv.ParseInt(said.Seconds, 10, 64)
		if err != nil || n <= 0 || said.Anchor != "created_at" {
			return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "expires_after", Message: "expires_after has the anchor created_at and a number of seconds."}
		}
		u.Seconds = n
	}
	if t := c.who.Team; t != nil && t.FileExpiry != nil {
		u.Seconds = t.FileExpiry.Seconds
	}
	f, err := s.store.files.Create(ctx, u)
	if err != nil {
		return err
	}
	return s.writeJSON(c, f)
}

func listFiles(ctx context.Context, s *Server, c *Call) error {
	q, _ := url.ParseQuery(c.query)
	page, err := s.store.files.List(ctx, c.who, q)
	if err != nil {
		return err
	}
	return s.writeJSON(c, page)
}

func showFile(ctx context.Context, s *Server, c *Call) error {
	f, err := s.store.files.Show(ctx, c.who, c.named)
	if err != nil {
		return err
	}
	return s.writeJSON(c, f)
}

func deleteFile(ctx context.Context, s *Server, c *Call) error {
	if err := s.store.files.Delete(ctx, c.who, c.named); err != nil {
		return err
	}
	return s.writeJSON(c, map[string]any{"id": c.named, "object": "file", "deleted": true})
}

func fileContent(ctx context.Context, s *Server, c *Call) error {
	facts, next, err := s.store.files.Content(ctx, c.who, c.named)
	if err != nil {
		return err
	}
	part, err := next()
	if err != nil {
		return err
	}
	h := c.out.Header()
	s.answerHeaders(c, h)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.FormatInt(facts.Bytes, 10))
	c.result.status, c.result.raw, c.result.begun = http.StatusOK, true, true
	c.out.Start(http.StatusOK)
	for ; len(part) > 0; part, err = next() {
		if _, err := c.out.Write(part); err != nil {
			return gone(err)
		}
	}
	return err
}

func createBatch(ctx context.Context, s *Server, c *Call) error {
	r, err := batch.ReadRequest(c.body)
	if err != nil {
		return err
	}
	if t := c.who.Team; t != nil && t.BatchOutputExpiry != nil {
		r.Expires = t.BatchOutputExpiry
	}
	address := ""
	if a := policy.ClientAddress(c.peer, c.header, c.cat.Settings().TrustedProxies); a.IsValid() {
		address = a.String()
	}
	b, err := s.store.desk.Create(ctx, c.who, r, c.owners(), address, c.cat.Settings().FileDays)
	if err != nil {
		return err
	}
	return s.writeJSON(c, b)
}

func listBatches(ctx context.Context, s *Server, c *Call) error {
	q, _ := url.ParseQuery(c.query)
	page, err := s.store.desk.List(ctx, c.who, q)
	if err != nil {
		return err
	}
	return s.writeJSON(c, page)
}

func showBatch(ctx context.Context, s *Server, c *Call) error {
	b, err := s.store.desk.Show(ctx, c.who, c.named)
	if err != nil {
		return err
	}
	return s.writeJSON(c, b)
}

func cancelBatch(ctx context.Context, s *Server, c *Call) error {
	b, err := s.store.desk.Cancel(ctx, c.who, c.named)
	if err != nil {
		return err
	}
	return s.writeJSON(c, b)
}

// batchService lets the price for batches count for a line of one, where the deployment itself, and not
// a list, has such a price: the gateway asks the provider line by line, and list prices are for the
// provider's own batches.
func (c *Call) batchService(u *llm.Usage) {
	d := c.result.target.Deployment
	if c.batch != nil && d != nil && d.Price != nil && d.Price.HasService(resource.ServiceBatch) {
		u.Service = llm.ServiceBatch
	}
}
