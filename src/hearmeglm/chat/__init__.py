"""ChatModels: local weights, a GGUF file, a remote server, a script; and what stands around them in a talk."""
