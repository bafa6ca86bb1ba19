package records

import (
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/provider/copilot"
	"github.com/conclave-llm/conclave/provider/modelfile"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) deploymentNoun() *Noun[resource.Deployment, *resource.Deployment] {
	return &Noun[resource.Deployment, *resource.Deployment]{
		rs: rs, kind: "deployment", prefix: "dep",
		all:    rs.deploymentsOf,
		find:   rs.findDeployment,
		put:    rs.putDeployment,
		remove: func(id string) fsm.Command { return fsm.DeleteDeployment{ID: id} },
		secrets: map[string]func(*resource.Deployment) **resource.Sealed{
			"api_key": func(d *resource.Deployment) **resource.Sealed { return &d.APIKey },
		},
		named: func(d *resource.Deployment) *map[string]*resource.Sealed { return &d.Secrets },
		check: func(_ Caller, now, next *resource.Deployment) (err error) {
			if next.ModelID, err = refer("model_id", next.ModelID, rs.findModel); err != nil {
				return err
			}
			if err := rs.checkUpstream(now, next); err != nil {
				return err
			}
			return CheckFiles(next, rs.cfg.Files)
		},
	}
}

// CheckWay checks the authorities of a credential; read may be nil.
func CheckWay(e *resource.Egress, read func(digest string) ([]byte, error)) error {
	if read == nil {
		return nil
	}
	return modelfile.CheckWay(e, read)
}

// CheckFiles checks the provider of a deployment and the files that it names; read may be nil.
func CheckFiles(d *resource.Deployment, read func(digest string) ([]byte, error)) error {
	if read == nil {
		return nil
	}
	return modelfile.Check(d, read)
}

func (rs *Records) deploymentsOf(q Query) []*resource.Deployment {
	cat := rs.cfg.State.Catalog()
	if q.ModelID == "" {
		return cat.Tables().Deployments
	}
	m, ok := rs.findModel(q.ModelID)
	if !ok {
		return nil
	}
	return cat.Deployments(m.ID)
}

// findDeployment finds a deployment by id, by MODEL/NAME, or by a name that only one has.
func (rs *Records) findDeployment(ref string) (*resource.Deployment, bool) {
	cat := rs.cfg.State.Catalog()
	var named []*resource.Deployment
	for _, d := range cat.Tables().Deployments {
		if d.ID == ref {
			return d, true
		}
		if ref != "" && d.Name == ref {
			named = append(named, d)
		}
	}
	if len(named) == 1 {
		return named[0], true
	}
	i := strings.LastIndexByte(ref, '/')
	if i < 0 {
		return nil, false
	}
	m, ok := rs.findModel(ref[:i])
	if !ok {
		return nil, false
	}
	for _, d := range cat.Deployments(m.ID) {
		if d.Name == ref[i+1:] {
			return d, true
		}
	}
	return nil, false
}

// checkUpstream resolves the credential, and keeps a stored secret from being sent to a
// host that it was not given for.
func (rs *Records) checkUpstream(now, next *resource.Deployment) (err error) {
	if err := rs.checkInsecure(&next.Egress); err != nil {
		return err
	}
	if next.CredentialID, err = refer("credential_id", next.CredentialID, rs.findCredential); err != nil {
		return err
	}
	if next.Provider == "" && next.CredentialID != "" {
		c, _ := rs.findCredential(next.CredentialID)
		next.Provider = c.Provider
	}
	t := rs.cfg.State.Catalog().Tables()
	if err := CheckPluginProvider(t.Plugins, next, credentialOf(t.Credentials, next.CredentialID)); err != nil {
		return err
	}
	if now != nil && (next.APIKey != nil && next.APIKey == now.APIKey || keeps(next.Secrets, now.Secrets)) {
		if err := CheckProviderMove(now, next); err != nil {
			return err
		}
		return CheckMove(AddressOf(now), AddressOf(next))
	}
	return nil
}

// checkInsecure refuses to leave certificates unverified where the cluster does not admit it.
func (rs *Records) checkInsecure(e *resource.Egress) error {
	if e.TLS == nil || !e.TLS.InsecureSkipVerify || rs.cfg.State.Catalog().Settings().AllowInsecureTLS {
		return nil
	}
	return &resource.Invalid{Field: "tls.insecure_skip_verify", Reason: "needs the setting allow_insecure_tls; name the provider's authority in tls.ca instead"}
}

// DraftDeployment makes the deployment that a document describes, or, with a ref, what the stored one
// would be with the document merged into it. It is sealed and checked as one that is written, but for its
// model if it is new, which has the id model; it is written nowhere.
func (rs *Records) DraftDeployment(by Caller, ref, model string, doc Document) (*resource.Deployment, error) {
	var now *resource.Deployment
	var err error
	if ref != "" {
		if now, err = rs.Deployments.One(by, ref); err != nil {
			return nil, err
		}
		if doc, err = patched(now, doc); err != nil {
			return nil, err
		}
	}
	next, err := rs.Deployments.draft(by, doc, now)
	if err != nil {
		return nil, err
	}
	if next.ModelID = model; now != nil {
		next.ModelID = now.ModelID
	}
	if err := rs.checkUpstream(now, next); err != nil {
		return nil, err
	}
	if err := CheckFiles(next, rs.cfg.Files); err != nil {
		return nil, err
	}
	next.Canonicalize()
	return next, next.Validate()
}

// Address is where the secrets of a deployment or a credential go.
type Address struct {
	Provider string // whose own address counts where there is no Base; "": any provider's
	Base     string
	Options  map[string]string
	Proxy    *resource.Proxy // through which they go
}

// AddressOf is where the secrets of a deployment go.
func AddressOf(d *resource.Deployment) Address {
	return Address{d.Provider, d.APIBase, d.Options, d.Proxy}
}

// AddressOfCredential is where the secrets of a credential go.
func AddressOfCredential(c *resource.Credential) Address {
	return Address{c.Provider, c.APIBase, c.Options, c.Proxy}
}

// addressOptions are the options that name a service to which secrets are sent for a token.
var addressOptions = [...]string{
	"aws_sts_endpoint", "azure_authority_host", "watsonx_iam_url", "sap_auth_url", "gigachat_auth_url", copilot.OptionAPI, chatgpt.OptionAuth,
}

// CheckMove refuses to send a stored secret, which was given for the one address, to another
// host, or to another provider's own.
func CheckMove(from, to Address) error {
	moves := movesHost(from.Base, to.Base) || to.Base == "" && from.Provider != "" && from.Provider != to.Provider
	if p := to.Proxy; p != nil && p.URL != resource.Direct { // an outer one was chosen without them
		moves = moves || from.Proxy == nil || movesHost(from.Proxy.URL, p.URL)
	}
	for _, name := range addressOptions {
		moves = moves || movesHost(from.Options[name], to.Options[name])
	}
	if moves {
		return errSecretMoves
	}
	return nil
}

// errSecretMoves asks for a secret again whose destination changes.
var errSecretMoves = &resource.Invalid{
	Field: "api_key", Reason: "give the secret again: the stored one was not given for this host",
}

// movesHost says whether two base addresses are at different places.
func movesHost(a, b string) bool {
	if a == b {
		return false
	}
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA != nil || errB != nil || ua.Scheme != ub.Scheme || !strings.EqualFold(ua.Host, ub.Host)
}

// PutDeployment makes the command that writes a deployment; read is the version that was
// read, 0 for none, and shared the budget that its budget_id names, nil for none.
func PutDeployment(next *resource.Deployment, read uint64, shared *resource.Budget, now time.Time) (fsm.Command, error) {
	windows, err := windowsOf(next, shared, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutDeployment{Deployment: e, Read: read, Windows: windows}, err
}

func (rs *Records) putDeployment(next *resource.Deployment, read uint64) (fsm.Command, error) {
	shared, err := rs.sharedBudget(next)
	if err != nil {
		return nil, err
	}
	return PutDeployment(next, read, shared, rs.cfg.Now())
}
