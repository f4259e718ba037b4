ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.10:80 -s nq -p 600 -M 255.255.0.0
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.18:80 -g -w 4
ipvsadm -A -t 192.0.2.11:53 -s dh
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.13:53 -g -w 2
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.16:0 -g -w 2
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.14:53 -g -w 5
ipvsadm -A -t [2001:db8:1::11]:80 -s wlc
ipvsadm -a -t [2001:db8:1::11]:80 -r [2001:db8:2::14]:80 -m -w 10
ipvsadm -a -t [2001:db8:1::11]:80 -r [2001:db8:2::18]:80 -m -w 4
ipvsadm -a -t [2001:db8:1::11]:80 -r [2001:db8:2::15]:80 -m -w 4
sysctl -w net.ipv4.vs.lblcr_expiration=86400
sysctl -w net.ipv4.vs.lblc_expiration=600
sysctl -w net.ipv4.vs.lblcr_expiration=600
