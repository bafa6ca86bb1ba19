package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/alephalpha"
	"github.com/conclave-llm/conclave/provider/bytez"
	"github.com/conclave-llm/conclave/provider/cloudflare"
	"github.com/conclave-llm/conclave/provider/fim"
	"github.com/conclave-llm/conclave/provider/gigachat"
	"github.com/conclave-llm/conclave/provider/nlpcloud"
	"github.com/conclave-llm/conclave/provider/oracle"
	"github.com/conclave-llm/conclave/provider/petals"
	"github.com/conclave-llm/conclave/provider/predibase"
	"github.com/conclave-llm/conclave/provider/replicate"
	"github.com/conclave-llm/conclave/provider/sap"
	"github.com/conclave-llm/conclave/provider/triton"
	"github.com/conclave-llm/conclave/provider/watsonx"
)

// textRows are vendors and servers with conversations in a form of their own, or a text in their place.
var textRows = []Provider{
	{Name: "triton", BaseVars: []string{"TRITON_API_BASE"}, KeyVars: []string{"TRITON_API_KEY"}, Endpoints: []llm.Endpoint{llm.TritonChat, llm.TritonEmbed}, Codec: triton.Codec{}, NoEndMark: true},
	{Name: "replicate", Base: "https://api.replicate.com/v1", KeyVars: []string{"REPLICATE_API_KEY", "REPLICATE_API_TOKEN"}, BaseVars: []string{"REPLICATE_API_BASE"}, Endpoints: []llm.Endpoint{llm.ReplicateChat}, Codec: replicate.Codec{}, Header: replicate.Header},
	{Name: "nlp_cloud", Base: "https://api.nlpcloud.io/v1/gpu", KeyVars: []string{"NLP_CLOUD_API_KEY"}, BaseVars: []string{"NLP_CLOUD_API_BASE"}, Auth: TokenKey, Endpoints: []llm.Endpoint{llm.NLPCloudChat}, Codec: nlpcloud.Codec{}},
	{Name: "predibase", Base: "https://serving.app.predibase.com/{tenant_id}/deployments/v2/llms", KeyVars: []string{"PREDIBASE_API_KEY"}, BaseVars: []string{"PREDIBASE_API_BASE"}, Endpoints: []llm.Endpoint{llm.PredibaseChat}, Codec: predibase.Codec{}},
	{Name: "gigachat", Base: "https://gigachat.devices.sberbank.ru/api/v1", KeyVars: []string{"GIGACHAT_CREDENTIALS", "GIGACHAT_API_KEY"}, BaseVars: []string{"GIGACHAT_API_BASE"}, Endpoints: []llm.Endpoint{llm.GigaChat, llm.GigaEmbed}, Codec: gigachat.Codec{}, Auth: GigaToken},
	{Name: "watsonx_text", Base: "https://{region}.ml.cloud.ibm.com", KeyVars: []string{"WATSONX_API_KEY", "WATSONX_APIKEY"}, BaseVars: []string{"WATSONX_API_BASE", "WATSONX_URL"}, Endpoints: []llm.Endpoint{llm.WatsonxText}, Auth: IBMToken, Codec: watsonx.TextCodec{}},
	{Name: "petals", BaseVars: []string{"PETALS_API_BASE"}, KeyVars: []string{"PETALS_API_KEY"}, Endpoints: []llm.Endpoint{llm.PetalsGenerate}, Codec: petals.New(), Header: petals.Header},
	{Name: "aleph_alpha", Base: "https://api.aleph-alpha.com", KeyVars: []string{"ALEPH_ALPHA_API_KEY"}, BaseVars: []string{"ALEPH_ALPHA_API_BASE"}, Endpoints: []llm.Endpoint{llm.AlephAlphaChat}, Codec: alephalpha.New()},
	{Name: "bytez", Base: "https://api.bytez.com/models/v2", KeyVars: []string{"BYTEZ_API_KEY"}, BaseVars: []string{"BYTEZ_API_BASE"}, Auth: KeyKey, Endpoints: []llm.Endpoint{llm.BytezChat}, Codec: bytez.New()},
	{Name: "text-completion-codestral", Base: "https://codestral.mistral.ai/v1", KeyVars: []string{"CODESTRAL_API_KEY"}, BaseVars: []string{"CODESTRAL_API_BASE"}, Endpoints: []llm.Endpoint{llm.FIMCompletions}, Codec: fim.Codec{}},
	{Name: "text-completion-inception", Base: "https://api.inceptionlabs.ai/v1", KeyVars: []string{"INCEPTION_API_KEY"}, BaseVars: []string{"INCEPTION_API_BASE"}, Endpoints: []llm.Endpoint{llm.FIMCompletions}, Codec: fim.Codec{}},
	{Name: "oci", Base: "https://inference.generativeai.{region}.oci.oraclecloud.com/openai/v1", KeyVars: []string{"OCI_API_KEY"}, BaseVars: []string{"OCI_API_BASE"}, Endpoints: []llm.Endpoint{llm.Chat, llm.Responses}, Auth: OracleSignature, Codec: oracle.Codec{}, RootOf: oracle.RootOf, MaxBatch: oracle.MaxInputs},
}

// cloudRows are clouds that want a proof of their own of who asks, most of whom speak OpenAI's form.
var cloudRows = []Provider{
	{Name: "cloudflare", Base: "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1", KeyVars: []string{"CLOUDFLARE_API_KEY"}, BaseVars: []string{"CLOUDFLARE_API_BASE"}, Endpoints: chatsEmb, MaxBatch: 100, Codec: cloudflare.Codec{}, RootOf: cloudflare.RootOf},
	{Name: "databricks", KeyVars: []string{"DATABRICKS_API_KEY"}, BaseVars: []string{"DATABRICKS_API_BASE"}, Endpoints: chatsEmb, Auth: DatabricksToken, MaxBatch: 150},
	{Name: "snowflake", Base: "https://{account}.snowflakecomputing.com/api/v2/cortex/v1", KeyVars: []string{"SNOWFLAKE_JWT"}, BaseVars: []string{"SNOWFLAKE_API_BASE"}, Endpoints: chatsEmb, Auth: SnowflakeToken},
	{Name: "sap", BaseVars: []string{"SAP_API_BASE"}, Endpoints: chatsEmb, Auth: SAPToken, Codec: sap.Codec{}},
	{Name: "watsonx", Base: "https://{region}.ml.cloud.ibm.com", KeyVars: []string{"WATSONX_API_KEY", "WATSONX_APIKEY"}, BaseVars: []string{"WATSONX_API_BASE", "WATSONX_URL"}, Endpoints: []llm.Endpoint{llm.WatsonxChat, llm.WatsonxEmbed}, Auth: IBMToken, Codec: watsonx.Codec{}, MaxBatch: watsonx.MaxInputs, NoEndMark: true, NoStreamOptions: true},
}
