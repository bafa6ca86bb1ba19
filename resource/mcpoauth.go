package resource

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// MCPSecretClient is the secret with which the gateway proves to an authorization server that it
// is the client of MCPOAuth.
const MCPSecretClient = "client_secret"

// The ways to get tokens of an authorization server.
const (
	MCPFlowCode   = "authorization_code" // a person allows it in a browser: tokens are each user's own
	MCPFlowClient = "client_credentials" // the gateway has its own
)

// MCPOAuth says how the gateway gets tokens for an MCP server with the auth oauth2. What is empty is
// discovered, as far as it is at the server's own host: another host must be named here.
type MCPOAuth struct {
	Flow             string   `json:"flow,omitempty"` // default: authorization_code
	ClientID         string   `json:"client_id,omitempty"`
	Scopes           []string `json:"scopes,omitempty"`
	Issuer           string   `json:"issuer,omitempty"`
	AuthorizationURL string   `json:"authorization_url,omitempty"`
	TokenURL         string   `json:"token_url,omitempty"`
	RegistrationURL  string   `json:"registration_url,omitempty"` // where the gateway registers itself, if it has no client_id
}

// URLs are the addresses that nodes send requests to.
func (o *MCPOAuth) URLs() (all []string) {
	if o == nil {
		return nil
	}
	for _, u := range []string{o.Issuer, o.TokenURL, o.RegistrationURL} {
		if u != "" {
			all = append(all, u)
		}
	}
	return all
}

// FlowOr is the flow, or its default; o may be nil.
func (o *MCPOAuth) FlowOr() string {
	if o == nil || o.Flow == "" {
		return MCPFlowCode
	}
	return o.Flow
}

func (o *MCPOAuth) validate() error {
	if o == nil {
		return nil
	}
	if o.Flow != "" && o.Flow != MCPFlowCode && o.Flow != MCPFlowClient {
		return invalidf("oauth.flow", "%q is not one of %s, %s", o.Flow, MCPFlowCode, MCPFlowClient)
	}
	if len(o.ClientID) > maxMCPArg {
		return invalidf("oauth.client_id", "is longer than %d bytes", maxMCPArg)
	}
	if len(o.Scopes) > maxMCPLists || slices.ContainsFunc(o.Scopes, func(s string) bool { return s == "" || len(s) > 256 || strings.ContainsAny(s, " \"\\\r\n\t") }) {
		return invalidf("oauth.scopes", "must be at most %d words", maxMCPLists)
	}
	for _, f := range []struct{ name, value string }{
		{"issuer", o.Issuer},
		{"authorization_url", o.AuthorizationURL},
		{"token_url", o.TokenURL},
		{"registration_url", o.RegistrationURL},
	} {
		if err := validSecureURL("oauth."+f.name, f.value); err != nil {
			return err
		}
	}
	return nil
}

// validSecureURL allows https, and http on this machine.
func validSecureURL(field, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || len(text) > maxMCPArg {
		return invalidf(field, "%.200q is not a URL such as https://host/path", text)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !IsLoopbackHost(u.Hostname())) {
		return invalidf(field, "must be https: tokens and secrets are sent there")
	}
	return nil
}

// IsLoopbackHost says whether a name is this machine's.
func IsLoopbackHost(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.") && strings.Trim(host, "0123456789.") == ""
}

// readPublicURL reads where browsers find the gateway.
func readPublicURL(s *Settings, v json.RawMessage) error {
	var text string
	if err := json.Unmarshal(v, &text); err != nil {
		return invalidf("value", "%s is not a string", v)
	}
	if err := validSecureURL("value", text); err != nil {
		return err
	}
	s.PublicURL = strings.TrimRight(text, "/")
	return nil
}
