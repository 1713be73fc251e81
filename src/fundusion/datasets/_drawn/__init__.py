"""Parts of a drawn eye: anatomy, vessels, lesions, pictures of each modality, patient and report."""
