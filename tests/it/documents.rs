//! What documents, scripts and shipped files say is what aegis does.
