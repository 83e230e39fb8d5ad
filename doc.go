package lespool
