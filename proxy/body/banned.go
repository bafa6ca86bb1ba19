package body

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// reach says where a field is banned.
type reach uint8

const (
	atTop      reach = iota + 1 // its name has other uses elsewhere
	everywhere                  // at the top and in the vessels
)

// banned are the fields by which clients of other gateways name an upstream or its
// credentials. No client may: a stored key never goes where a request says.
var banned = map[string]reach{
	"api_base": everywhere, "base_url": everywhere, "api_key": everywhere, "user_config": everywhere,
	"aws_access_key_id": everywhere, "aws_secret_access_key": everywhere, "aws_session_token": everywhere,
	"aws_sts_endpoint": everywhere, "aws_web_identity_token": everywhere, "aws_role_name": everywhere,
	"aws_profile_name": everywhere, "aws_session_name": everywhere, "aws_external_id": everywhere,
	"aws_session_tags": everywhere, "aws_bedrock_runtime_endpoint": everywhere,
	"aws_bedrock_control_plane_endpoint": everywhere, "aws_bedrock_project_id": everywhere,
	"vertex_credentials": everywhere, "azure_ad_token": everywhere, "azure_username": everywhere,
	"azure_password": everywhere, "client_secret": everywhere, "s3_endpoint_url": everywhere,
	"sagemaker_base_url": everywhere, "deployment_url": everywhere, "router_settings_override": everywhere,
	"agentcore_runtime_session_id": everywhere, "bedrock_tags": everywhere, "nvcf_function_id": everywhere,
	"riva_offline": everywhere, "langfuse_host": everywhere, "langfuse_secret_key": everywhere,
	"langfuse_public_key": everywhere, "langsmith_base_url": everywhere, "arize_space_key": everywhere,
	"gcs_path_service_account": everywhere,
	"tenant_id":                atTop, "client_id": atTop, "workspace_id": atTop, "use_ssl": atTop,
	"azure_scope": atTop, "litellm_credential_name": atTop, "model_list": atTop, "custom_llm_provider": atTop,
}

// vessels are the fields in which other gateways look for further settings. Nothing else is
// searched: a tool's schema or a message may well have a property called base_url.
var vessels = map[string]bool{
	"metadata": true, "litellm_metadata": true, "litellm_params": true, "extra_body": true,
	"fallbacks": true, "context_window_fallbacks": true, "content_policy_fallbacks": true,
}

// CheckBanned refuses a body, which is valid JSON, with a banned field at its top or anywhere
// in a vessel. It looks at the names at the top in one pass without decoding anything.
func CheckBanned(body []byte) error {
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := stringEnd(body, i)
			if depth == 1 {
				if value := afterColon(body, end); value > 0 {
					if err := checkName(body, i, end, value); err != nil {
						return err
					}
				}
			}
			i = end - 1
		}
	}
	return nil
}

// stringEnd returns the index after the string that begins at i.
func stringEnd(b []byte, i int) int {
	for j := i + 1; j < len(b); {
		n := bytes.IndexByte(b[j:], '"')
		if n < 0 {
			break
		}
		j += n
		back := 0
		for b[j-1-back] == '\\' {
			back++
		}
		if back%2 == 0 {
			return j + 1
		}
		j++
	}
	return len(b)
}

// afterColon returns where the value of the name that ends at i begins, 0 if it is not a name.
func afterColon(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch b[i] {
		case ' ', '\t', '\r', '\n':
		case ':':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

// checkName judges the member whose name is body[start:end] and whose value begins at value.
func checkName(body []byte, start, end, value int) error {
	name := body[start+1 : end-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if err := json.Unmarshal(body[start:end], &plain); err == nil {
			name = []byte(plain)
		}
	}
	if banned[string(name)] != 0 {
		return refuseField(string(name))
	}
	if !vessels[string(name)] {
		return nil
	}
	var v any
	if err := json.NewDecoder(bytes.NewReader(body[value:])).Decode(&v); err != nil {
		return &llm.Error{
			Kind: llm.Invalid, Code: "invalid_json", Param: string(name),
			Message: "The field " + string(name) + " is not valid JSON.", Err: err,
		}
	}
	if field := search(v, string(name)); field != "" {
		return refuseField(field)
	}
	return nil
}

// search returns the path of a banned field in v, "" if there is none.
func search(v any, path string) string {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if banned[strings.ToLower(name)] == everywhere {
				return path + "." + name
			}
			if found := search(inner, path+"."+name); found != "" {
				return found
			}
		}
	case []any:
		for _, inner := range v {
			if found := search(inner, path); found != "" {
				return found
			}
		}
	}
	return ""
}

func refuseField(field string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "field_not_allowed", Param: field,
		Message: "The field " + field + " is not allowed: a request cannot name an upstream or its credentials.",
	}
}
