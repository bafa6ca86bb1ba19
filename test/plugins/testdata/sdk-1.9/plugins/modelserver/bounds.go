package modelserver

// codeFailed is the code of a plugin that fails without saying more.
const codeFailed = "provider_plugin_failed"

// maxText bounds what an error quotes, in bytes.
const maxText = 300
