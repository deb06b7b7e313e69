"""Language models from data sets: causal and masked-diffusion pretraining and fine-tuning."""
